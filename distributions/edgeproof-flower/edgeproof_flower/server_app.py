"""The server: the rounds of edgeproof.federated, with clients that Flower reaches."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import safetensors.torch
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp
from torch import nn

from edgeproof.federated.checkpoints import Checkpoints
from edgeproof.federated.client import Answer, ClientJob
from edgeproof.federated.history import list_curve, sum_rounds
from edgeproof.federated.rounds import run_rounds
from edgeproof.federated.settings import Settings
from edgeproof_flower import federation as federations
from edgeproof_flower.configuration import read

# Clients that are asked at once. The server holds as many answers at a time.
WINDOW = 8
POLL_INTERVAL_S = 1.0

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds, then write the global model to <output>.safetensors and its facts to <output>.json."""
    federation = federations.load(read(context, "federation"), read(context, "project"))
    torch.set_num_threads(federation.settings.threads)
    nodes = find_nodes(grid, len(federation.shares), float(read(context, "wait-s")))
    run_clients = functools.partial(run_on_flower, grid, nodes, float(read(context, "answer-s")))
    rounds = run_rounds(federation, run_clients, Checkpoints(None))
    output = Path(read(context, "output")).expanduser()
    output.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().clone() for name, tensor in federation.module.state_dict().items()}
    safetensors.torch.save_file(tensors, output.with_suffix(".safetensors"))
    facts = {**sum_rounds(rounds), "curve": list_curve(rounds)}
    output.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def find_nodes(grid: Grid, clients: int, wait_s: float) -> dict[int, int]:
    """Return the node of each client's share. Raises SystemExit if some are missing after `wait_s`."""
    nodes: dict[int, int] = {}
    deadline = time.monotonic() + wait_s
    while len(nodes) < clients and time.monotonic() < deadline:
        unknown = [node for node in grid.get_node_ids() if node not in nodes.values()]
        messages = [Message(RecordDict(), dst_node_id=node, message_type=MessageType.QUERY) for node in unknown]
        for reply in grid.send_and_receive(messages, timeout=wait_s) if messages else ():
            if not reply.has_error():
                nodes[int(reply.content["share"]["number"])] = reply.metadata.src_node_id
        time.sleep(POLL_INTERVAL_S if len(nodes) < clients else 0)
    missing = [str(client) for client in range(clients) if client not in nodes]
    if missing:
        raise SystemExit(f"error: no node has the shares {', '.join(missing[:8])}. Start a node for each of {clients}.")
    return nodes


def run_on_flower(
    grid: Grid, nodes: dict[int, int], answer_s: float, module: nn.Module, jobs: Iterator[ClientJob], settings: Settings
) -> Iterator[Answer | None]:
    """Send the jobs of a round to the nodes, and yield the answers in their order. A lost node gives None."""
    while window := [(job.client, job.round_number, job.weights) for job in islice(jobs, WINDOW)]:
        messages = [
            Message(
                RecordDict({"order": ConfigRecord({"round": number, "weights": weights})}),
                dst_node_id=nodes[client],
                message_type=MessageType.TRAIN,
            )
            for client, number, weights in window
        ]
        replies = {
            reply.metadata.src_node_id: bytes(reply.content["answer"]["update"])
            for reply in grid.send_and_receive(messages, timeout=answer_s)
            if not reply.has_error()
        }
        for client, _, _ in window:
            message = replies.get(nodes[client])
            yield None if message is None else Answer(message, None)
