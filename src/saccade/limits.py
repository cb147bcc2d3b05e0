"""Every limit in one place: id, default, error code. Errors, docs and tests are made from it.

The ids are those of LIMITS, sections A (requests), B (pictures), C (tensors and queues) and I (operations).
`IMAGE_LIMITS` is what a picture is held to unless the caller says otherwise:
`decode(source, limits=replace(IMAGE_LIMITS, max_pixels=...))`.
"""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limit:
    """One row: what is bounded, by how much, and the code a caller gets beyond it."""

    id: str
    name: str
    default: int | float | tuple[str, ...]
    code: str
    help: str


@dataclass(frozen=True)
class ImageLimits:
    """What a picture may be before a pixel is decoded.

    formats: allowed by content (B1); jpeg, png and webp, on request also gif, bmp and tiff. max_pixels, max_side in px
    (B2). max_scans of a progressive JPEG, and max_scan_pixels = pixels x scans, which bounds its time (B4). max_frames
    of an animation, of which the first counts; max_metadata_bytes of profiles, EXIF and text (B5). max_bytes encoded.
    max_decode_s: of the clock, where a process of its own decodes and can be ended (B4).
    """

    formats: tuple[str, ...] = ("jpeg", "png", "webp")
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    max_scans: int = 100
    max_scan_pixels: int = 1_000_000_000
    max_frames: int = 1
    max_metadata_bytes: int = MIB
    max_bytes: int = 64 * MIB
    max_decode_s: float = 2.0


@dataclass(frozen=True)
class AnswerLimits:
    """How large an answer about one picture may grow (B11, B12).

    max_mask_edges: runs, or lattice points on borders between classes, of a mask that may become run lengths or
    polygons; max_mask_corners: of all its polygons. max_mask_pixels: of all masks of a request, which are held until it
    is answered. max_tiles: windows that a picture larger than the network is asked in.
    """

    max_mask_edges: int = 1_000_000
    max_mask_corners: int = 200_000
    max_tiles: int = 512
    max_mask_pixels: int = 200_000_000


@dataclass(frozen=True)
class BodyLimits:
    """What a request may be: bytes of an inference body (A4), of all bodies that are held at once, of a JSON control
    body, images in it (C2)."""

    max_bytes: int = 16 * MIB
    max_held_bytes: int = 512 * MIB
    max_control_bytes: int = MIB
    max_images: int = 64


@dataclass(frozen=True)
class HeadLimits:
    """What a request's head may be: seconds to arrive (A1), bytes, fields and bytes a line (A3)."""

    head_s: float = 10.0
    max_bytes: int = 16 * 1024
    max_fields: int = 64
    max_line: int = 8 * 1024


@dataclass(frozen=True)
class JsonLimits:
    """What a JSON document may be (A9): nesting, keys in all."""

    max_depth: int = 32
    max_keys: int = 10_000


@dataclass(frozen=True)
class GrpcLimits:
    """What a gRPC caller may do beyond what an HTTP one may (A8).

    max_grpc_metadata_bytes of a call; max_grpc_fields of a message, those inside it included; max_grpc_streams of a
    connection, which is let go after grpc_age_s so that balancers can move it, its calls grpc_grace_s later; min_ping_s
    between two pings.
    """

    max_grpc_metadata_bytes: int = 8 * 1024
    max_grpc_fields: int = 10_000
    max_grpc_streams: int = 100
    grpc_age_s: float = 1800.0
    grpc_grace_s: float = 30.0
    min_ping_s: float = 10.0


@dataclass(frozen=True)
class CallerLimits:
    """When a key is asked to slow down (B9): after max_bad_images within bad_images_s, for slow_s,
    to one request a second."""

    max_bad_images: int = 20
    bad_images_s: float = 60.0
    slow_s: float = 60.0


@dataclass(frozen=True)
class MemoryLimits:
    """When memory is short (I4), as a share of what bounds the server, and in bytes, for a share of
    a large machine is a lot.

    Below shed_share and shed_bytes requests with several images and those that are not urgent are refused, below
    refuse_share and refuse_bytes all.
    """

    shed_share: float = 0.10
    shed_bytes: int = 1024 * MIB
    refuse_share: float = 0.05
    refuse_bytes: int = 512 * MIB


@dataclass(frozen=True)
class QueueLimits:
    """How long a request may wait (C5, C6), in seconds."""

    deadline_s: float = 10.0
    deadline_cap_s: float = 60.0
    max_wait_s: float = 0.25
    max_batch_wait_s: float = 5.0


IMAGE_LIMITS = ImageLimits()
ANSWER_LIMITS = AnswerLimits()
BODY_LIMITS = BodyLimits()
HEAD_LIMITS = HeadLimits()
JSON_LIMITS = JsonLimits()
GRPC_LIMITS = GrpcLimits()
CALLER_LIMITS = CallerLimits()
QUEUE_LIMITS = QueueLimits()
MEMORY_LIMITS = MemoryLimits()

LIMITS = (
    Limit("A1", "head_s", HEAD_LIMITS.head_s, "request_timeout", "seconds for a whole head"),
    Limit("A3", "max_head_bytes", HEAD_LIMITS.max_bytes, "headers_too_large", "bytes of a head"),
    Limit("A3", "max_head_fields", HEAD_LIMITS.max_fields, "headers_too_large", "fields of a head"),
    Limit("A3", "max_line", HEAD_LIMITS.max_line, "uri_too_long", "bytes of a request line or field"),
    Limit("A4", "max_body_bytes", BODY_LIMITS.max_bytes, "payload_too_large", "bytes of an inference body"),
    Limit("A4", "max_held_bytes", BODY_LIMITS.max_held_bytes, "overloaded", "bytes of all bodies held at once"),
    Limit("A4", "max_control_bytes", BODY_LIMITS.max_control_bytes, "payload_too_large", "bytes of a control body"),
    Limit("A8", "max_grpc_metadata_bytes", GRPC_LIMITS.max_grpc_metadata_bytes, "headers_too_large", "of a gRPC call"),
    Limit("A8", "max_grpc_fields", GRPC_LIMITS.max_grpc_fields, "malformed_protobuf", "fields of a gRPC message"),
    Limit("A8", "max_grpc_streams", GRPC_LIMITS.max_grpc_streams, "concurrency_limited", "calls of a gRPC connection"),
    Limit("A8", "grpc_age_s", GRPC_LIMITS.grpc_age_s, "draining", "seconds until a gRPC connection is let go"),
    Limit("A8", "grpc_grace_s", GRPC_LIMITS.grpc_grace_s, "draining", "seconds that its calls have then"),
    Limit("A8", "min_ping_s", GRPC_LIMITS.min_ping_s, "concurrency_limited", "seconds between pings of gRPC"),
    Limit("A9", "max_depth", JSON_LIMITS.max_depth, "malformed_json", "nesting of a JSON document"),
    Limit("A9", "max_keys", JSON_LIMITS.max_keys, "malformed_json", "keys of a JSON document"),
    Limit("B1", "formats", IMAGE_LIMITS.formats, "image_format_unsupported", "formats, by content"),
    Limit("B2", "max_pixels", IMAGE_LIMITS.max_pixels, "image_too_many_pixels", "pixels of a picture"),
    Limit("B2", "max_side", IMAGE_LIMITS.max_side, "image_too_many_pixels", "px of the longer side"),
    Limit("B4", "max_scans", IMAGE_LIMITS.max_scans, "image_too_complex", "scans of a JPEG"),
    Limit("B4", "max_scan_pixels", IMAGE_LIMITS.max_scan_pixels, "image_too_complex", "pixels times scans of a JPEG"),
    Limit("B4", "max_decode_s", IMAGE_LIMITS.max_decode_s, "image_decode_timeout", "seconds in a confined decoder"),
    Limit("B5", "max_frames", IMAGE_LIMITS.max_frames, "image_too_complex", "frames of a picture"),
    Limit("B5", "max_metadata_bytes", IMAGE_LIMITS.max_metadata_bytes, "image_too_complex", "bytes of metadata"),
    Limit("B5", "max_bytes", IMAGE_LIMITS.max_bytes, "image_too_complex", "bytes of an image file"),
    Limit("B9", "max_bad_images", CALLER_LIMITS.max_bad_images, "too_many_bad_images", "bad pictures of a key"),
    Limit("B9", "bad_images_s", CALLER_LIMITS.bad_images_s, "too_many_bad_images", "seconds in which they are counted"),
    Limit("B9", "slow_s", CALLER_LIMITS.slow_s, "too_many_bad_images", "seconds that the key is slow then"),
    Limit(
        "B11", "max_mask_edges", ANSWER_LIMITS.max_mask_edges, "mask_too_complex", "border points of an answered mask"
    ),
    Limit("B11", "max_mask_corners", ANSWER_LIMITS.max_mask_corners, "mask_too_complex", "corners of its polygons"),
    Limit(
        "B11",
        "max_mask_pixels",
        ANSWER_LIMITS.max_mask_pixels,
        "batch_too_large",
        "pixels of all masks of a request",
    ),
    Limit("B12", "max_tiles", ANSWER_LIMITS.max_tiles, "image_too_many_pixels", "tiles of a picture"),
    Limit("C2", "max_images", BODY_LIMITS.max_images, "batch_too_large", "images of a request"),
    Limit("C5", "deadline_s", QUEUE_LIMITS.deadline_s, "deadline_exceeded", "seconds until an answer, unless asked"),
    Limit("C5", "deadline_cap_s", QUEUE_LIMITS.deadline_cap_s, "deadline_exceeded", "the most that can be asked"),
    Limit("C6", "max_wait_s", QUEUE_LIMITS.max_wait_s, "overloaded", "expected wait of a single image, seconds"),
    Limit("C6", "max_batch_wait_s", QUEUE_LIMITS.max_batch_wait_s, "overloaded", "the same for several images"),
    Limit(
        "I4", "shed_share", MEMORY_LIMITS.shed_share, "overloaded", "free memory below which several images are refused"
    ),
    Limit("I4", "shed_bytes", MEMORY_LIMITS.shed_bytes, "overloaded", "and this in bytes"),
    Limit("I4", "refuse_share", MEMORY_LIMITS.refuse_share, "overloaded", "free memory below which all are refused"),
    Limit("I4", "refuse_bytes", MEMORY_LIMITS.refuse_bytes, "overloaded", "and this in bytes"),
)
"""Every limit the house keeps, in the order of LIMITS."""


def find(name: str) -> Limit:
    """A row by name. Raises KeyError."""
    for limit in LIMITS:
        if limit.name == name:
            return limit
    raise KeyError(name)
