"""What every layer shares: errors, plugin loading, directories with a meta.json, records. Standard library and numpy alone."""
