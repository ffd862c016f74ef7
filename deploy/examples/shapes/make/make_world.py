"""Makes the whole world: drawings, tokenizer, prompts, VAE, text towers, base model, scorers, figures.

    make_world.py [STAGE ...]        all stages by default; those that are done are skipped
    make_world.py --list

Everything goes to build/world (or SHAPES_WORK): finished models to shapes/, checkpoints to checkpoints/, the log to log.txt,
figures to figures.json. Stop it any time (SIGTERM, or even SIGKILL): the same command goes on from the last checkpoint, at most
three minutes back. To do a stage again, remove its file in done/ and its checkpoint.
"""
import os
import signal
import subprocess
import sys

from files import MAKE, WORK, log, prepare

STAGES = {
    "data": ["make_data.py"],
    "tokenizer": ["make_tokenizer.py"],
    "prompts": ["make_prompts.py"],
    "vae": ["train_vae.py"],
    "text": ["train_text.py", "clip"],
    "pipeline": ["make_pipeline.py"],
    "clip": ["train_clip.py", "clip"],
    "text-heldout": ["train_text.py", "clip-heldout"],
    "clip-heldout": ["train_clip.py", "clip-heldout"],
    "unet": ["train_unet.py"],
    "hps": ["train_hps.py"],
    "aesthetic": ["train_aesthetic.py"],
    "measure": ["measure.py"],
}
# glibc gives freed memory back to the kernel at once and asks for it again in every step; this keeps it. Several times faster.
MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4000000000", "OMP_NUM_THREADS": os.environ.get("SHAPES_THREADS", "1")}


def run(stage):
    """Runs a stage's script unless its mark is there. Returns its exit code."""
    mark = WORK / "done" / stage
    if mark.exists():
        return 0
    log("world", f"{stage}: begins")
    process = subprocess.Popen([sys.executable, "-W", "ignore", str(MAKE / STAGES[stage][0]), *STAGES[stage][1:]], env={**os.environ, **MEMORY})
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())       # the stage keeps a checkpoint, then ends with 143
    code = process.wait()
    if code == 0:
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    log("world", f"{stage}: {'done' if code == 0 else f'ended with {code}'}")
    return code


def main():
    if "--list" in sys.argv:
        print("\n".join(f"{stage:14}{' '.join(command)}" for stage, command in STAGES.items()))
        return 0
    prepare()
    (WORK / "make_world.pid").write_text(f"{os.getpid()}\n")
    unknown = [stage for stage in sys.argv[1:] if stage not in STAGES]
    if unknown:
        sys.exit(f"make_world.py: no stage {unknown[0]!r} (see --list)")
    for stage in sys.argv[1:] or STAGES:
        code = run(stage)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
