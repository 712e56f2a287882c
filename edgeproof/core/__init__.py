"""Code that the host and a device share: errors, plugins, directories with a meta.json, signatures.

It imports only the standard library and numpy, because it is shipped to devices.
"""
