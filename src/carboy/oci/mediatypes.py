"""Media types. Sources: OCI image-spec, media-types.md; Docker image manifest version 2, schema 2."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = f"{LAYER_TAR}+gzip"
LAYER_ZSTD = f"{LAYER_TAR}+zstd"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_TAR = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = frozenset({INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({CONFIG, DOCKER_CONFIG})
LAYERS = frozenset({LAYER_TAR, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER_GZIP, DOCKER_LAYER_TAR})

# Attestations beside an image, as BuildKit stores them (docs/attestations/attestation-storage.md), by annotations.
IN_TOTO = "application/vnd.in-toto+json"
PREDICATE_TYPE = "in-toto.io/predicate-type"
REFERENCE_TYPE = "vnd.docker.reference.type"
REFERENCE_DIGEST = "vnd.docker.reference.digest"
ATTESTATION = "attestation-manifest"

# Artifacts that refer to an image (OCI image-spec 1.1). Those that carboy makes: provenance (IN_TOTO), SBOMs, licences, a lock.
EMPTY = "application/vnd.oci.empty.v1+json"
CREATED = "org.opencontainers.image.created"
SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
LICENCES = "application/vnd.carboy.licences.v1+json"
LOCK = "application/vnd.carboy.lock.v1+toml"
DOCUMENTS = (IN_TOTO, SPDX, CYCLONEDX, LICENCES, LOCK)
