"""What tests of several rooms of ``kge`` use."""

from typing import Any

import pytest
from pykeen.training import TrainingLoop


@pytest.fixture
def epochs_trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the epochs that PyKEEN's loops train during the test; clear it to start anew."""
    found: list[int] = []
    train_epoch = TrainingLoop._train_epoch

    def noted(self: Any, *args: Any, epoch: int, **kwargs: Any) -> Any:
        if not kwargs.get("only_size_probing"):
            found.append(epoch)
        return train_epoch(self, *args, epoch=epoch, **kwargs)

    monkeypatch.setattr(TrainingLoop, "_train_epoch", noted)
    return found
