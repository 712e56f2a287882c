"""The Python API for notebooks and scripts: `import edgeproof` has these names (docs/python_api.md).

Each function imports what it needs when it is called, so that `import edgeproof` takes no time.
"""

from edgeproof.api.benchmark import bench
from edgeproof.api.comparison import compare
from edgeproof.api.record_frame import records
from edgeproof.api.study_run import Study
from edgeproof.api.table import Table

__all__ = ["Study", "Table", "bench", "compare", "records"]
