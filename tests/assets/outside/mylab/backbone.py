"""A small residual CNN with elastic depth and width."""

from torch import Tensor, nn

from wsn.space import Dimension, SearchSpace
from wsn.supernet import Coupling, Reads, Segment, Supernet


class Block(nn.Module):
    def __init__(self, channels: int, width: int):
        super().__init__()
        self.up = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.down = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.norm(self.up(x)).relu())


class ResidualCNN(nn.Module):
    def __init__(self, in_chans: int, num_classes: int, channels: int, width: int, depth: int):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, channels, 4, stride=4)
        self.blocks = nn.Sequential(*(Block(channels, width) for _ in range(depth)))
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


WIDTH = Coupling(out=("up", "norm"), into=("down",))


class ResidualCNNSupernet(Supernet):
    def __init__(self, num_classes: int, in_chans: int, depth: list[int], width: list[int], resolution: list[int]):
        count = max(depth)
        model = ResidualCNN(in_chans, num_classes, 8, max(width), count)
        space = SearchSpace(
            [
                Dimension("depth", depth),
                Dimension("width", width, count, "block"),
                Dimension("resolution", resolution),
            ],
            stages=[count],
        )
        super().__init__(model, space, in_chans, [f"blocks.{i}" for i in range(count)])

    def reads(self, path: str) -> Reads:
        return [("width", int(path.split(".")[1]))] if path else []

    def widths(self, path: str, choice: tuple) -> dict[Coupling, int]:
        return {WIDTH: choice[0]} if path else {}

    def segment(self, name: str, choice: tuple) -> nn.Module:
        model = self.around(choice)
        if name == "stem":
            return Segment(model, ["stem"], lambda x: model.stem(x))
        return Segment(model, ["head"], lambda x: model.head(x.mean((2, 3))))
