"""What a run leaves in its folder for who looks from outside."""

import pytest

from search.store.notice import noticed
from search.store.parts import Store
from spaces.errors import SpecError
from spaces.records.filesystems import open_filesystem
from spaces.records.state import FAILED, read_state


def test_everything_that_ended_a_run_is_told_in_one_line(tmp_path):
    with pytest.raises(SpecError), noticed(Store(str(tmp_path)), print):
        raise SpecError(["[budget] trials: none", "task 'a':\n no text"])
    state = read_state(*open_filesystem(str(tmp_path)))
    assert state.phase == FAILED and state.line == "2 problems: 1. [budget] trials: none 2. task 'a': no text"
