"""Code that the host and a device share: errors, plugins, directories with a meta.json, signatures.

It imports the standard library and numpy alone, because it is shipped to devices.
"""
