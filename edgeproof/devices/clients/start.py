"""Start the program on a device: python clients.pyz FOLDER SHA256_OF_JOB."""

import signal

from edgeproof.core import processes

if __name__ == "__main__":
    # Before the import of torch, which takes seconds: nobody reads the answer if the server's process has ended.
    processes.die_with_parent(signal.SIGKILL)
    from edgeproof.devices.clients import program

    program.main()
