"""What the owner of a provider's machine decides beside price and slots. Units are in the names."""

from typing import Annotated, Final, Literal

from pydantic import Field, WithJsonSchema

from assay_node.settings.kinds import BytesOrNone, Interval, Microusd
from assay_node.settings.section import Section

NO_LIMIT: Final = 0

HoursText = Annotated[
    str,
    Field(max_length=1000),
    WithJsonSchema(
        {
            "type": "string",
            "allowed": "days and times such as mon-fri 19:00-08:00, sat-sun; empty is always",
        }
    ),
]
ZoneText = Annotated[
    str,
    Field(max_length=64),
    WithJsonSchema(
        {"type": "string", "allowed": "a time zone such as Europe/Berlin; empty is the machine's"}
    ),
]
GpuPricesText = Annotated[
    str,
    Field(max_length=4000),
    WithJsonSchema(
        {
            "type": "string",
            "allowed": "models and prices such as RTX 4090=900, H100=2500, with commas between",
        }
    ),
]
Watts = Annotated[float, Field(ge=0, le=1_000_000)]


class PriceSettings(Section):
    """What devices cost, and what they cost you: nothing is sold below it unless you say so."""

    gpus: GpuPricesText = Field(
        default="",
        description="Price a second of one GPU in micro-USD, by words of its model; the price of a "
        "slot is `provider.price_microusd_per_second` and that of its GPUs.",
    )
    floor_microusd_per_second: Microusd = Field(
        default=0, description="The least that a slot may ever be sold for."
    )
    slot_power_watts: Watts = Field(
        default=0.0, description="What a busy slot draws more than an idle one; 0 is not known."
    )
    idle_power_watts: Watts = Field(
        default=0.0,
        description="What the machine draws while it waits, if it is on for this alone.",
    )
    electricity_microusd_per_kwh: Microusd = Field(
        default=0, description="What you pay for power ($0.30 is 300000); 0 is not known."
    )
    purchase_microusd: Microusd = Field(
        default=0, description="What the machine cost, if it is to earn that back."
    )
    amortisation_days: int = Field(
        default=1095, ge=1, le=36_500, description="In how many days it is to."
    )
    below_cost: bool = Field(
        default=False, description="Whether to sell below what the power of a busy slot costs."
    )


class ScheduleSettings(Section):
    """When jobs are let in."""

    hours: HoursText = Field(
        default="", description="When jobs are let in, by the clock of `provider.schedule.zone`."
    )
    zone: ZoneText = Field(default="", description="The time zone of the hours.")
    idle_only: bool = Field(
        default=False, description="Whether jobs are let in only while you do not use the machine."
    )
    idle_after_s: Interval = Field(
        default=900.0, description="How long you must not have been seen for that."
    )
    other_cpus_max: float = Field(
        default=0.0,
        ge=0,
        le=1024,
        description="With `idle_only`, the cores that other programs may use before that counts "
        "as you; 0 does not look at them.",
    )
    running: Literal["finish", "hand_back"] = Field(
        default="finish",
        description="What a pause does to jobs under way: they finish, or are handed back unpaid.",
    )


class RequesterLimitSettings(Section):
    """What one requester may take; 0 is no limit. A day is the last 24 hours."""

    requester_slots: int = Field(
        default=NO_LIMIT, ge=0, le=256, description="Slots that one requester's jobs hold at once."
    )
    requester_seconds_a_day: int = Field(
        default=NO_LIMIT, ge=0, le=10**9, description="Seconds that one requester's jobs run."
    )
    requester_bytes_a_day: BytesOrNone = Field(
        default=NO_LIMIT,
        description="Bytes of inputs fetched and outputs kept for one requester.",
    )
