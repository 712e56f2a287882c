from edgeproof.api import Study as Study
from edgeproof.api import Table as Table
from edgeproof.api import bench as bench
from edgeproof.api import compare as compare
from edgeproof.api import records as records

__version__: str
