"""What runs on the device: a job directory in, a result directory out. Ships as a zipapp."""
