"""Federated learning: every client is a task, its data stay with it, and only weights travel."""

from metalearn.federated.clients import Client, clients_by_group, clients_of
from metalearn.federated.hessian_free import hessian_free_backward
from metalearn.federated.local import client_updates, federated_backward, local_update
from metalearn.federated.rounds import Round, Rounds
from metalearn.federated.styles import styled_digits
from metalearn.federated.traffic import Traffic, message_bytes

__all__ = [
    "Client",
    "Round",
    "Rounds",
    "Traffic",
    "client_updates",
    "clients_by_group",
    "clients_of",
    "federated_backward",
    "hessian_free_backward",
    "local_update",
    "message_bytes",
    "styled_digits",
]
