"""The pipeline's libraries: importing this module loads them, once, before a worker forks its tasks.

A task that imports pandas, scikit-learn, skl2onnx and DVC by itself spends two seconds on that; a forked one shares
them with all others, in time and in memory. Of ``src`` nothing but its ``__init__`` is loaded here: a task must see the
code of the day.
"""

# flake8: noqa: F401
import src  # first: it keeps onnxruntime from reporting

import boto3
import dotenv
import dvc.repo
import dvc_s3
import onnxruntime
import pandas
import pydantic
import s3fs
import skl2onnx
import sklearn.linear_model
import sklearn.metrics
import sklearn.pipeline
