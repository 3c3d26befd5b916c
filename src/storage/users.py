"""Least-privilege access to the bucket, made through MinIO's admin API by whoever holds the store's root keys."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import boto3
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from src.errors import ConfigError, StoreError
from src.settings import AccessSettings
from src.storage.bucket import DVC_PREFIX, Bucket
from src.storage.prediction_log import LABELS, PREDICTIONS

READ = ("s3:GetObject",)
WRITE = (*READ, "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
Grants = Mapping[tuple[str, ...], tuple[str, ...]]  # actions by objects


def create_users(bucket: Bucket, settings: AccessSettings, say: Callable[[str], None]) -> None:
    """Make the two users and their policies, or repair them; the bucket's own keys must be the store's root keys.

    Raises:
        ConfigError: only some of the keys are given.
        StoreError: the store rejects, or has no such API.

    """
    if not settings.pipeline_access_key_id:
        say("access: no users are made here, for no keys are given for them")
        return
    admin = _open_admin(bucket)
    key, secret = settings.pipeline_access_key_id, settings.pipeline_secret_access_key
    _make_user(admin, bucket, "pipeline", key, secret, {("*",): WRITE}, say)
    create_api_user(bucket, settings, say)


def create_api_user(bucket: Bucket, settings: AccessSettings, say: Callable[[str], None]) -> None:
    """Make the API's user alone; raises as :func:`create_users` does."""
    grants = {
        ("registry/*", f"{DVC_PREFIX}/*", "monitoring/*", "experiments/*"): READ,
        (f"{PREDICTIONS}*", f"{LABELS}*"): WRITE,
    }
    key, secret = settings.api_access_key_id, settings.api_secret_access_key
    _make_user(_open_admin(bucket), bucket, "api", key, secret, grants, say)


def describe_policy(bucket: str, grants: Grants) -> dict[str, Any]:
    """Return the policy that lets its holder list the bucket and do what is granted, in AWS's own form."""
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": [arn]},
            *(
                {"Effect": "Allow", "Action": list(actions), "Resource": [f"{arn}/{key}" for key in objects]}
                for objects, actions in grants.items()
            ),
        ],
    }


def _make_user(
    admin: MinioAdmin,
    bucket: Bucket,
    name: str,
    key: str | None,
    secret: SecretStr | None,
    grants: Grants,
    say: Callable[[str], None],
) -> None:
    if not key or not secret:
        raise ConfigError(f"{name.upper()}_ACCESS_KEY_ID or {name.upper()}_SECRET_ACCESS_KEY is missing")
    policy = f"{bucket.name}-{name}"
    try:
        admin.policy_add(policy, policy=describe_policy(bucket.name, grants))
        admin.user_add(key, secret.get_secret_value())
        admin.policy_set(policy, user=key)
    except (MinioAdminException, HTTPError) as error:
        raise StoreError(f"the store does not make the user of {name}: {error}") from error
    told = "; ".join(f"{', '.join(actions)} on {', '.join(objects)}" for objects, actions in grants.items())
    say(f"access of {name}: {told}")


def _open_admin(bucket: Bucket) -> MinioAdmin:
    address = urlsplit(bucket.endpoint)
    keys = boto3.Session().get_credentials()
    if not keys or not keys.access_key or not keys.secret_key:
        raise ConfigError("AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is missing")
    return MinioAdmin(
        endpoint=address.netloc,
        credentials=StaticProvider(keys.access_key, keys.secret_key),
        region=bucket.client.meta.region_name,
        secure=address.scheme == "https",
    )
