"""What every layer shares: errors, plugins, directories with a meta.json, records. Standard library and numpy alone."""
