"""The attributes of a spec as class numbers: what the text and image towers learn to tell.

A caption says the same of a picture in several orders ("a red disc above a blue box", "a blue box below a red disc"), so the
slots come twice: as the caption names them (`a`, `b`), and as they stand in the picture (`first` is the upper or left thing).
"""
import torch
import torch.nn.functional as F

from world import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES

_COLOURS, _BACKGROUNDS = list(COLOURS), list(BACKGROUNDS)
_THING = {"shape": len(SHAPES) + 1, "colour": len(_COLOURS) + 1, "size": len(SIZES) + 1}
SIZES_OF = {f"{who}.{what}": n for who in ("a", "b", "first", "second") for what, n in _THING.items()}
SIZES_OF |= {"relation": len(RELATIONS) + 1, "axis": 3, "count": 3, "background": len(_BACKGROUNDS) + 1}
PICTURE = [k for k in SIZES_OF if not k.startswith(("a.", "b.")) and k != "relation"]      # those that a picture shows
WIDTH = sum(SIZES_OF.values())


def _number(pool, value):
    return 0 if value is None else pool.index(value) + 1


def _of_thing(who, thing):
    if thing is None:
        return {f"{who}.{what}": 0 for what in _THING}
    return {f"{who}.shape": _number(SHAPES, thing.shape), f"{who}.colour": _number(_COLOURS, thing.colour),
            f"{who}.size": _number(SIZES, thing.size)}


def slots(spec):
    """{slot: class number}; 0 is "not there" or "not said"."""
    a = spec.things[0]
    b = spec.things[1] if len(spec.things) == 2 else None
    turned = spec.relation in ("below", "right of")
    first, second = (b, a) if turned else (a, b)
    axis = 0 if spec.relation is None else 1 if spec.relation in ("above", "below") else 2
    return {**_of_thing("a", a), **_of_thing("b", b), **_of_thing("first", first), **_of_thing("second", second),
            "relation": _number(RELATIONS, spec.relation), "axis": axis, "count": spec.count - 1,
            "background": _number(_BACKGROUNDS, spec.background)}


def labels(specs):
    """N x slots, in the order of SIZES_OF."""
    return torch.tensor([[slots(s)[k] for k in SIZES_OF] for s in specs])


def loss(logits, target, picture=False):
    """Mean cross-entropy over the slots, and the share of right ones.

    For a picture only what it shows counts, and what the caption leaves unsaid is not asked of it.
    """
    total, right, asked = 0.0, 0, 0
    for k, (name, part) in enumerate(zip(SIZES_OF, logits.split(list(SIZES_OF.values()), 1))):
        if picture and name not in PICTURE:
            continue
        wanted = target[:, k]
        if picture and (name.endswith("size") or name == "background"):
            wanted = torch.where(wanted == 0, -100, wanted)
        known = wanted != -100
        total = total + F.cross_entropy(part.float(), wanted, reduction="sum") / max(1, known.sum().item())
        right += (part.argmax(1) == wanted)[known].sum().item()
        asked += known.sum().item()
    return total / len(SIZES_OF), right / max(1, asked)
