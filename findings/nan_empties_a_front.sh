#!/usr/bin/env bash
# moocore 0.3.2 and pymoo 0.6.2: one point with a NaN takes every other point off the Pareto front.
#
# Four points, three of them on the front. A fifth, whose first objective could not be measured (NaN) and whose second is
# small, makes both libraries answer that it alone is not dominated: a comparison with NaN is false both ways, and they
# read "not worse in the first" out of it. No warning. The hypervolume ignores the point, so volume and front disagree.
# Points that were not measured have to be taken out before the call.
# Seen: moocore 0.3.2 (is_nondominated), pymoo 0.6.2 (NonDominatedSorting), numpy 2.4.6.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check moocore==0.3.2 pymoo==0.6.2 numpy==2.4.6
cd "$folder"
cat > look.py <<'PY'
import moocore
import numpy as np
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

measured = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [4.0, 4.0]])
points = np.vstack([measured, [np.nan, 0.5]])


def fronts(rows):
    sorting = NonDominatedSorting().do(rows, only_non_dominated_front=True)
    return np.flatnonzero(moocore.is_nondominated(rows)).tolist(), sorted(sorting.tolist())


print("measured points: moocore", fronts(measured)[0], "pymoo", fronts(measured)[1])
print("with one NaN:    moocore", fronts(points)[0], "pymoo", fronts(points)[1])
assert fronts(measured) == ([0, 1, 2], [0, 1, 2])
assert fronts(points) == ([4], [4]), "the behaviour has changed"
assert moocore.hypervolume(points, ref=[5, 5]) == moocore.hypervolume(measured, ref=[5, 5])
PY
venv/bin/python look.py
