"""Clients of a federation that train on registered devices.

`pool` gives the clients of a round to devices, `client_device` is one of them, and `readiness` is what it must have.
`start` and `program` run on the device. `job_template` says how it builds the module, and `job_files` is the form of
what goes there and comes back: arrays and JSON, no pickle.
"""
