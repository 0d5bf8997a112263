"""How wrong forecasts are: fitted to the training days, judged on the evaluation day.

Reads the two files of the Faro day (see --help). RMSE in requests per minute over the next seven
minutes, pooled over the jobs; the published system reports 116.24 (N-HiTS), 123.94 (LSTM) and
122.38 (DeepAR).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from result import emit

from glet.learn.nhits import Training, train
from glet.policy.forecast.forecaster import Forecaster
from glet.policy.forecast.make import FORECASTERS, held_out_error, make_forecaster
from glet.policy.forecast.nhits import Nhits


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Counts of shape (days, minutes, jobs), and of the evaluation day (minutes, jobs)."""
    training = np.loadtxt(folder / "training_days.csv", delimiter=",", skiprows=1)
    evaluation = np.loadtxt(folder / "evaluation_day.csv", delimiter=",", skiprows=1)
    days = len(np.unique(training[:, 0]))
    return training[:, 2:].reshape(days, -1, training.shape[1] - 2), evaluation[:, 1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="has training_days.csv and evaluation_day.csv")
    parser.add_argument("--nhits", action="store_true", help="train N-HiTS too (extra forecast)")
    args = parser.parse_args()
    days, evaluation = read(args.folder)
    for name in (*FORECASTERS, *(["nhits"] if args.nhits else [])):
        began_s = time.process_time()
        by_job = [days[:, :, job] for job in range(days.shape[2])]
        if name == "nhits":
            weights = train({str(job): one for job, one in enumerate(by_job)}, Training())
            made: list[Forecaster] = [Nhits(weights, one) for one in by_job]
        else:
            made = [make_forecaster(name, one) for one in by_job]
        fit_s = time.process_time() - began_s
        errors = [held_out_error(one, evaluation[None, :, job]) for job, one in enumerate(made)]
        emit(
            "forecast",
            {"forecaster": name},
            rmse=float(np.sqrt(np.mean([error.rmse**2 for error in errors]))),
            rmse_by_job=[round(error.rmse, 1) for error in errors],
            below_90=float(np.mean([error.below_90 for error in errors])),
            fit_cpu_s=fit_s,
        )


if __name__ == "__main__":
    main()
