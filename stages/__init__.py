"""One thin module for each kind of stage in dvc.yaml. A stage may import the packages that do its work, and entry."""
