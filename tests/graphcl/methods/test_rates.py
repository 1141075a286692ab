import pytest

from graphcl.methods import BGRL, GCA, GRACE, GraphMethod
from graphcl.methods.rates import view_rates


@pytest.mark.parametrize("rates", [(0.1, 0.2), [0.0, 1.0], (0, 1)])
def test_two_shares_pass(rates: object) -> None:
    assert view_rates("drop_edge", rates) == tuple(rates)


@pytest.mark.parametrize(
    "rates",
    [(1.2, 0.1), (0.1, -0.1), (0.1,), (0.1, 0.2, 0.3), (), 0.3, "ab", None, (float("nan"), 0)],
)
@pytest.mark.parametrize("setting", ["drop_edge", "mask_feature"])
@pytest.mark.parametrize("cls", [GRACE, GCA, BGRL])
def test_bad_rates_raise_before_training(
    cls: type[GraphMethod], setting: str, rates: object
) -> None:
    with pytest.raises(ValueError, match=f"{setting} needs two rates in \\[0, 1\\]"):
        cls(5, **{setting: rates})
