"""What W&B wrote for offline runs, read without W&B's server."""

import json
import struct

import wandb


def records(folder):
    """Yield the records of the one offline run in a folder: LevelDB log frames of protobuf messages."""
    from wandb.proto import wandb_internal_pb2

    (path,) = (p for p in folder.rglob("*.wandb") if not p.parent.name.startswith("replaced-"))
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4) and parts:  # full, last
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def items(messages):
    return {m.key or "/".join(m.nested_key): json.loads(m.value_json) for m in messages}


def history(folder):
    """Return the rows that `wandb sync` would upload, of a run whose process has ended."""
    kinds = [(record.WhichOneof("record_type"), record) for record in records(folder)]
    assert kinds[-1][0] == "exit", f"the file is not whole, its last record is {kinds[-1][0]}"
    return [items(record.history.item) for kind, record in kinds if kind == "history"]


class Written:
    """History rows, config, metric definitions, artifacts and tables of an offline run."""

    def __init__(self, folder):
        wandb.teardown()  # W&B's service of this process writes the rest when it ends
        self.folder = folder
        self.history, self.config, self.metrics, self.artifacts = [], {}, {}, {}
        for record in records(folder):
            kind = record.WhichOneof("record_type")
            if kind == "history":
                self.history.append(items(record.history.item))
            elif kind == "run":
                self.run = record.run
                self.config.update(items(record.run.config.update))
            elif kind == "config":
                self.config.update(items(record.config.update))
            elif kind == "metric":
                self.metrics[record.metric.glob_name or record.metric.name] = record.metric
            elif kind == "artifact":
                self.artifacts[record.artifact.name] = record.artifact
        assert kind == "exit", f"the file is not whole, its last record is {kind}"

    def values(self, key):
        return [row[key] for row in self.history if key in row]

    def table(self, key):
        """Return the table that was logged once under a key."""
        (name,) = self.values(f"{key}/path")
        (path,) = self.folder.rglob(f"files/{name}")
        return json.loads(path.read_text())
