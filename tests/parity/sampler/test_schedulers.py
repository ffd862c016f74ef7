"""Every scheduler against diffusers': timesteps, scaled inputs and the sample after each call."""

import itertools
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
TOOL = Path(os.environ["RSIDIFF_BIN"]) / "run_scheduler"
CLASSES = {"ddim": DDIMScheduler, "pndm": PNDMScheduler, "euler": EulerDiscreteScheduler,
           "dpmsolver++": DPMSolverMultistepScheduler}
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = [1, 2, 5, 20, 50]
SHAPE = (2, 4, 6, 5)


class Cases:
    def __init__(self, folder):
        self.folder = folder
        self.requests = []
        self.schedulers = []

    def add(self, scheduler, steps, override=None, config=None):
        """`scheduler` runs in diffusers; `config` is what our side reads, by default what diffusers saves."""
        place = self.folder / str(len(self.requests))
        if config is None:
            scheduler.save_pretrained(place)
        else:
            place.mkdir()
            (place / "scheduler_config.json").write_text(json.dumps(config))
        self.requests.append({"folder": str(place), "type": override, "steps": steps})
        self.schedulers.append(scheduler)

    def run(self):
        generator = torch.Generator().manual_seed(0)
        given = {"sample": torch.randn(SHAPE, generator=generator),
                 "outputs": torch.randn((80,) + SHAPE, generator=generator)}
        save_file(given, self.folder / "given.safetensors")
        lines = "".join(json.dumps(request) + "\n" for request in self.requests)
        result = subprocess.run([TOOL, self.folder / "given.safetensors", self.folder / "result.safetensors"],
                                input=lines, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        self.answers = [json.loads(line) for line in result.stdout.splitlines()]
        return given, load_file(self.folder / "result.safetensors")

    def compare(self):
        given, ours = self.run()
        for index, (request, scheduler) in enumerate(zip(self.requests, self.schedulers)):
            place = (type(scheduler).__name__, request, dict(scheduler.config))
            assert "error" not in self.answers[index], (self.answers[index], place)
            scheduler.set_timesteps(request["steps"])
            assert ours[f"{index}.timesteps"].tolist() == pytest.approx(scheduler.timesteps.tolist(), rel=1e-5, abs=1e-3), place
            assert ours[f"{index}.init_noise_sigma"].item() == pytest.approx(float(scheduler.init_noise_sigma), rel=1e-6), place
            sample = given["sample"] * scheduler.init_noise_sigma
            for call, timestep in enumerate(scheduler.timesteps):
                scaled = scheduler.scale_model_input(sample, timestep)
                assert error(ours[f"{index}.inputs"][call], scaled) < 1e-4, (call, place)
                sample = scheduler.step(given["outputs"][call], timestep, sample).prev_sample
                assert error(ours[f"{index}.samples"][call], sample) < 1e-4, (call, place)


def error(ours, expected):
    assert torch.isfinite(expected).all()
    return ((ours - expected).abs().max() / expected.abs().max().clamp(min=1e-12)).item()


@pytest.fixture
def cases(tmp_path):
    return Cases(tmp_path)


@pytest.mark.parametrize("name", CLASSES)
def test_steps_prediction_types_and_spacings(cases, name):
    types = ["epsilon", "v_prediction"] if name == "pndm" else ["epsilon", "v_prediction", "sample"]
    extra = {"pndm": {"skip_prk_steps": True}, "ddim": {"clip_sample": False}}.get(name, {})
    for steps, prediction, spacing in itertools.product(STEPS, types, ["leading", "trailing", "linspace"]):
        scheduler = CLASSES[name](**SD, **extra, steps_offset=1, prediction_type=prediction, timestep_spacing=spacing)
        cases.add(scheduler, steps)
    cases.compare()


def test_betas(cases):
    betas = torch.linspace(1e-4, 0.03, 100).tolist()
    for cls, steps in itertools.product(CLASSES.values(), [7, 25]):
        cases.add(cls(), steps)
        cases.add(cls(beta_schedule="squaredcos_cap_v2"), steps)
        cases.add(cls(trained_betas=betas, num_train_timesteps=100), steps)
        cases.add(cls(**SD, num_train_timesteps=500), steps)
    cases.compare()


def test_zero_terminal_snr(cases):
    for cls, spacing in itertools.product([DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler],
                                          ["trailing", "linspace"]):
        cases.add(cls(**SD, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing=spacing), 10)
    cases.compare()


def test_ddim_options(cases):
    for clip, reach, one in itertools.product([True, False], [1.0, 2.5], [True, False]):
        for prediction in ["epsilon", "v_prediction", "sample"]:
            cases.add(DDIMScheduler(**SD, clip_sample=clip, clip_sample_range=reach, set_alpha_to_one=one,
                                    prediction_type=prediction), 12)
    cases.compare()


def test_pndm_options(cases):
    for skip, one, offset in itertools.product([True, False], [True, False], [0, 1]):
        for steps, prediction in itertools.product([4, 5, 10, 50], ["epsilon", "v_prediction"]):
            cases.add(PNDMScheduler(**SD, skip_prk_steps=skip, set_alpha_to_one=one, steps_offset=offset,
                                    prediction_type=prediction), steps)
    cases.compare()


def test_plms_makes_51_calls_in_50_steps(cases):
    cases.add(PNDMScheduler(**SD, skip_prk_steps=True, steps_offset=1), 50)
    _, ours = cases.run()
    assert ours["0.timesteps"].tolist()[:4] == [981, 961, 961, 941] and len(ours["0.timesteps"]) == 51


def test_euler_options(cases):
    for spacing in ["use_karras_sigmas", "use_exponential_sigmas"]:
        for steps, prediction in itertools.product([1, 3, 20], ["epsilon", "v_prediction"]):
            cases.add(EulerDiscreteScheduler(**SD, prediction_type=prediction, **{spacing: True}), steps)
            cases.add(EulerDiscreteScheduler(**SD, prediction_type=prediction, sigma_min=0.1, sigma_max=9.0,
                                             **{spacing: True}), steps)
    cases.add(EulerDiscreteScheduler(**SD, interpolation_type="log_linear"), 10)
    cases.add(EulerDiscreteScheduler(**SD, final_sigmas_type="sigma_min"), 10)
    cases.add(EulerDiscreteScheduler(**SD, timestep_type="continuous", prediction_type="v_prediction"), 10)
    cases.compare()


def test_dpm_solver_options(cases):
    for order, solver, lower, final in itertools.product([1, 2, 3], ["midpoint", "heun"], [True, False], [True, False]):
        for steps in [3, 8, 20]:
            cases.add(DPMSolverMultistepScheduler(**SD, solver_order=order, solver_type=solver, lower_order_final=lower,
                                                  euler_at_final=final), steps)
    for spacing in ["use_karras_sigmas", "use_lu_lambdas", "use_exponential_sigmas"]:
        for steps in [2, 9, 20]:
            cases.add(DPMSolverMultistepScheduler(**SD, **{spacing: True}), steps)
    cases.add(DPMSolverMultistepScheduler(**SD, final_sigmas_type="sigma_min", timestep_spacing="linspace"), 10)
    cases.add(DPMSolverMultistepScheduler(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1), 20)
    cases.compare()


def test_switching_as_from_config_does(cases):
    stored = [
        {"_class_name": "PNDMScheduler", **SD, "skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1,
         "clip_sample": False, "trained_betas": None, "num_train_timesteps": 1000},
        {"_class_name": "DDIMScheduler", **SD, "prediction_type": "v_prediction", "timestep_spacing": "trailing",
         "rescale_betas_zero_snr": True, "clip_sample": False},
        {"_class_name": "EulerDiscreteScheduler", **SD, "timestep_spacing": "leading", "use_karras_sigmas": True},
        {"_class_name": "PNDMScheduler"},
        {"_class_name": "DPMSolverMultistepScheduler", **SD, "final_sigmas_type": "sigma_min"},
    ]
    for config in stored:
        native = globals()[config["_class_name"]]
        place = cases.folder / f"native{len(cases.requests)}"
        place.mkdir()
        (place / "scheduler_config.json").write_text(json.dumps(config))
        for name, cls in CLASSES.items():
            cases.add(cls.from_config(native.from_pretrained(place).config), 10, name, config)
        cases.add(native.from_pretrained(place), 10, None, config)
    cases.compare()


@pytest.mark.parametrize("config, steps, message", [
    ({"_class_name": "LMSDiscreteScheduler"}, 5, 'unsupported value for _class_name: "LMSDiscreteScheduler"'),
    ({"_class_name": "DDIMScheduler", "thresholding": True}, 5, "unsupported value for thresholding: true"),
    ({"_class_name": "DDIMScheduler", "beta_schedule": "sigmoid"}, 5, 'unsupported value for beta_schedule: "sigmoid"'),
    ({"_class_name": "DDIMScheduler", "prediction_type": "flow"}, 5, 'unsupported value for prediction_type: "flow"'),
    ({"_class_name": "DDIMScheduler", "no_such_key": 1}, 5, "no_such_key"),
    ({"_class_name": "DDIMScheduler", "steps_offset": "one"}, 5, "steps_offset"),
    ({"_class_name": "DDIMScheduler", "trained_betas": [0.1, 0.2]}, 5, "trained_betas has 2 entries"),
    ({"_class_name": "DDIMScheduler", "beta_start": 2.0, "beta_end": 3.0}, 5, "not from 0 to 1"),
    ({"_class_name": "PNDMScheduler", "prediction_type": "sample"}, 5, 'unsupported value for prediction_type of PNDM'),
    ({"_class_name": "PNDMScheduler", "skip_prk_steps": False}, 3, "needs at least 4 steps, not 3"),
    ({"_class_name": "EulerDiscreteScheduler", "use_beta_sigmas": True}, 5, "unsupported value for use_beta_sigmas: true"),
    ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"}, 5, "algorithm_type"),
    ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 4}, 5, "unsupported value for solver_order: 4"),
    ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, 5, "use_flow_sigmas"),
    ({"_class_name": "DDIMScheduler"}, 0, "the number of steps is not from 1 to 1000: 0"),
    ({"_class_name": "DDIMScheduler"}, 1001, "the number of steps is not from 1 to 1000: 1001"),
    ({"_class_name": "DDIMScheduler", "steps_offset": 1}, 1000, "outside of the schedule"),
])
def test_refusals(cases, config, steps, message):
    cases.add(None, steps, None, config)
    cases.run()
    assert message in cases.answers[0]["error"]


def test_missing_file_is_named(cases):
    cases.requests.append({"folder": str(cases.folder / "nowhere"), "type": None, "steps": 5})
    cases.run()
    assert "nowhere/scheduler_config.json" in cases.answers[0]["error"]
