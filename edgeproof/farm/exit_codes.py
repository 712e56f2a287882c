"""Exit codes of a session's process that tell the dispatcher how to go on. The names are those of sysexits.h."""

from __future__ import annotations

# EX_IOERR: this host could not write or read, for example because its disk is full. The device is not at fault.
HOST_ERROR = 74
# EX_TEMPFAIL: the device failed, and another attempt may succeed.
TRY_AGAIN = 75
# EX_NOPERM: the device refused the connection. Only a person can change that.
DEVICE_REFUSED = 77
