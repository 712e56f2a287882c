"""The client: it trains its share, and answers with the message of edgeproof.federated."""

from __future__ import annotations

import copy

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from edgeproof.federated.client import train_client
from edgeproof.federated.rounds import make_job
from edgeproof_flower import federation as federations
from edgeproof_flower.configuration import read

app = ClientApp()


@app.query()
def identify(message: Message, context: Context) -> Message:
    """Answer with the number of the share that this node holds."""
    number = int(context.node_config["partition-id"])
    return Message(RecordDict({"share": ConfigRecord({"number": number})}), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the weights of the server for one round. What top-k leaves out stays in the state of this node."""
    federation = federations.load(read(context, "federation"), read(context, "project"))
    order = message.content["order"]
    kept = context.state.get("residual")
    residual = None if kept is None else np.frombuffer(kept["values"], "<f4")
    client = int(context.node_config["partition-id"])
    job = make_job(federation, client, int(order["round"]), order["weights"], residual)
    answer = train_client(copy.deepcopy(federation.module), job, federation.settings)
    if answer.residual is not None:
        context.state["residual"] = ConfigRecord({"values": answer.residual.astype("<f4").tobytes()})
    return Message(RecordDict({"answer": ConfigRecord({"update": answer.message})}), reply_to=message)
