"""CrypTen's communicator over the mesh: the same collectives, mutual TLS instead of gloo, JSON instead of pickle.

Every frame carries the name of its collective. Its shape and dtype are compared with what this party holds: programs
that diverge stop with an error. Tensors must be on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.distributed import ReduceOp

from securegen.engines.mpc.crypten.objects import decode, encode
from securegen.engines.mpc.net.session import Session
from securegen.errors import PolicyError, ProtocolError

_REDUCERS: dict[object, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    ReduceOp.SUM: torch.add,
    ReduceOp.PRODUCT: torch.mul,
    ReduceOp.BXOR: torch.bitwise_xor,
    ReduceOp.BAND: torch.bitwise_and,
    ReduceOp.BOR: torch.bitwise_or,
    ReduceOp.MAX: torch.maximum,
    ReduceOp.MIN: torch.minimum,
}


class Pending:
    """A message in flight, as torch.distributed returns it: `wait` completes it."""

    def __init__(self, finish: Callable[[], object] | None = None) -> None:
        self._finish = finish

    def wait(self) -> None:
        if self._finish is not None:
            self._finish()


class MeshCommunicator:
    """What CrypTen calls a communicator, for the computing parties (not the dealer) of a session."""

    BYTES_PER_ELEMENT = 8

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names = session.parties.computing
        self.rank = self._names.index(session.me)
        self.world_size = len(self._names)
        self._name = session.me
        self.reset_communication_stats()

    def send(self, tensor: torch.Tensor, dst: int, *, step: str = "send") -> None:
        """Send a tensor to rank `dst`."""
        if tensor.device.type != "cpu":
            raise PolicyError(f"a tensor on {tensor.device} cannot be sent: only CPU tensors are supported")
        # CrypTen changes tensors in place after sending: the frame gets its own copy
        self._session.send(self._names[dst], f"crypten/{step}", np.array(tensor.detach().numpy(), order="C"))

    def recv(self, tensor: torch.Tensor, src: int | None = None, *, step: str = "send") -> torch.Tensor:
        """Receive a tensor like `tensor` from rank `src`."""
        if src is None:
            raise ProtocolError("recv needs the rank of the sender")
        start = time.perf_counter()
        like = tensor.detach().numpy()
        array = self._session.receive(self._names[src], f"crypten/{step}", shape=like.shape, dtype=like.dtype)
        self.comm_time += time.perf_counter() - start
        return torch.from_numpy(array)

    def isend(self, tensor: torch.Tensor, dst: int) -> Pending:
        self.send(tensor, dst)
        return Pending()

    def irecv(self, tensor: torch.Tensor, src: int | None = None) -> Pending:
        return Pending(lambda: tensor.copy_(self.recv(tensor, src)))

    def _others(self) -> list[int]:
        return [r for r in range(self.world_size) if r != self.rank]

    def all_gather(self, tensor: torch.Tensor, *, step: str = "all_gather") -> list[torch.Tensor]:
        for rank in self._others():
            self.send(tensor, rank, step=step)
        return [tensor.clone() if r == self.rank else self.recv(tensor, r, step=step) for r in range(self.world_size)]

    def gather(self, tensor: torch.Tensor, dst: int, *, step: str = "gather") -> list[torch.Tensor] | list[None]:
        if self.rank != dst:
            self.send(tensor, dst, step=step)
            return [None]
        return [tensor.clone() if r == dst else self.recv(tensor, r, step=step) for r in range(self.world_size)]

    def all_reduce(self, input: torch.Tensor, op: object = ReduceOp.SUM, batched: bool = False) -> Any:  # noqa: A002
        """`op` over all ranks, at all ranks. batched: a list of tensors, in one round."""
        tensors: Sequence[torch.Tensor] = input if batched else [input]  # type: ignore[assignment]
        for rank in self._others():
            for tensor in tensors:
                self.send(tensor, rank, step="all_reduce")
        out = [t.clone() for t in tensors]
        for rank in self._others():
            for i, tensor in enumerate(tensors):
                out[i] = _REDUCERS[op](out[i], self.recv(tensor, rank, step="all_reduce"))
        return out if batched else out[0]

    def reduce(self, input: torch.Tensor, dst: int, op: object = ReduceOp.SUM, batched: bool = False) -> Any:  # noqa: A002
        """`op` over all ranks, at rank `dst`; None elsewhere."""
        tensors: Sequence[torch.Tensor] = input if batched else [input]  # type: ignore[assignment]
        if self.rank != dst:
            for tensor in tensors:
                self.send(tensor, dst, step="reduce")
            return None
        out = [t.clone() for t in tensors]
        for rank in self._others():
            for i, tensor in enumerate(tensors):
                out[i] = _REDUCERS[op](out[i], self.recv(tensor, rank, step="reduce"))
        return out if batched else out[0]

    def broadcast(self, input: torch.Tensor, src: int, group: object = None, batched: bool = False) -> Any:  # noqa: A002
        for tensor in input if batched else [input]:
            if self.rank == src:
                for rank in self._others():
                    self.send(tensor, rank, step="broadcast")
            else:
                tensor.copy_(self.recv(tensor, src, step="broadcast"))
        return input

    def scatter(
        self, scatter_list: list[torch.Tensor], src: int, size: object = None, device: object = None
    ) -> torch.Tensor:
        if self.rank == src:
            for rank in self._others():
                self.send(scatter_list[rank], rank, step="scatter")
            return scatter_list[src].clone()
        like = torch.empty(size if size is not None else scatter_list[self.rank].shape, dtype=torch.long)  # type: ignore[call-overload]
        return self.recv(like, src, step="scatter")

    def barrier(self) -> None:
        self._session.barrier("crypten/barrier", self._names)

    def send_obj(self, obj: object, dst: int, group: object = None) -> None:
        self._session.send_json(self._names[dst], "crypten/object", encode(obj))

    def recv_obj(self, src: int, group: object = None) -> object:
        return decode(self._session.receive_json(self._names[src], "crypten/object"))

    def broadcast_obj(self, obj: object, src: int, group: object = None) -> object:
        if self.rank != src:
            return self.recv_obj(src)
        for rank in self._others():
            self.send_obj(obj, rank)
        return obj

    def get_world_size(self) -> int:
        return self.world_size

    def get_rank(self) -> int:
        return self.rank

    def set_name(self, name: str) -> None:
        self._name = name

    def get_name(self) -> str:
        return self._name

    def get_distributed_backend(self) -> str:
        return "mutual TLS 1.3"

    def reset_communication_stats(self) -> None:
        traffic = self._session.traffic
        self._before = (traffic.rounds, traffic.total)
        self.comm_time = 0.0

    @property
    def comm_rounds(self) -> int:
        return self._session.traffic.rounds - self._before[0]

    @property
    def comm_bytes(self) -> int:
        return self._session.traffic.total - self._before[1]

    def get_communication_stats(self) -> dict[str, float]:
        """Rounds, bytes sent by this party (dealer included) and seconds waited since the last reset."""
        return {"rounds": self.comm_rounds, "bytes": self.comm_bytes, "time": self.comm_time}

    def print_communication_stats(self) -> None:
        print(self.get_communication_stats())
