"""A static site of everything that was measured: no server, no network, opens from a file.

index.html      what there is
pareto.html     every artifact, accuracy against any cost, with filters
compare.html    two cells side by side
artifacts/      a page an artifact: lineage, conditions, distribution, nights, disagreement between runtimes
devices/        a page a device: fingerprint, its history, health
nights/         a page a night: the farm's alarms, what got slower or faster, where series step, what was refused
tables/         every saved selection in every format
"""
