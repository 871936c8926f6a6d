"""Extensions of an imaging chain by name."""

import pytest

from fluorojax.data.choices import CHAIN_EXTENSIONS
from fluorojax.physics import (
    EXTENSIONS,
    PUBLISHED_OPERATOR,
    Scatter,
    VeilingGlare,
    extended,
    operator_from_list,
    stages_as_list,
)


def test_the_names_of_the_command_line_are_those_of_the_operator():
    assert list(EXTENSIONS) == list(CHAIN_EXTENSIONS)


@pytest.mark.parametrize("name", list(EXTENSIONS))
def test_every_extension_changes_the_chain_and_survives_a_file(name):
    operator = extended(PUBLISHED_OPERATOR, [name])
    assert operator != PUBLISHED_OPERATOR
    assert operator_from_list(stages_as_list(operator)) == operator
    assert extended(operator, [name]) == operator


def test_an_extension_keeps_what_the_chain_states():
    operator = PUBLISHED_OPERATOR.with_stage(Scatter(width=0.3)).with_stage(VeilingGlare(0.05, 9.0))
    found = extended(operator, ["scatter-share", "glare-share"])
    assert found.stage(Scatter) == Scatter(0.3, 0.0, "share")
    assert found.stage(VeilingGlare).radius == 9.0
    assert [p.name for p in found.parameters][3:] == ["scatter_ratio", "glare_share"]


def test_an_unknown_extension_is_named():
    with pytest.raises(ValueError, match="stage is 'warp'; expected names among scatter, "):
        extended(PUBLISHED_OPERATOR, ["glare", "warp"])
