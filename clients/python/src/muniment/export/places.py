"""Places and what rules permit (export-manifest.md, section 3; section 7, step 5)."""

from collections.abc import Sequence, Set

from ..errors import FormatError
from ..strictjson import quote
from .errors import ExportError
from .statement import Claim, Geography, Location, Manifest, Signer, Use
from .tables import places

_STEP = 5
_CODES = {
    "storage": ("storage-not-allowed", "storage-forbidden"),
    "processing": ("processing-not-included", "processing-excluded"),
}


def check_codes(geography: Geography) -> None:
    """Raise FormatError unless the tables have the codes."""
    table = places()
    if geography.country not in table.countries:
        raise FormatError(f"country {quote(geography.country)} is not an ISO 3166-1 alpha-2 code")
    state = geography.state
    known = state in table.states and state.partition("-")[0] == geography.country
    if state and not known:
        reason = f"state {quote(state)} is not an ISO 3166-2 code of {geography.country}"
        raise FormatError(reason)


def place_of(location: Location) -> Geography:
    """Return the place of a location whose codes are known."""
    place = location.place
    code = places().regions.get(location.cloud_region, "")
    if not place.state and "-" in code:
        return Geography(place.country, code)
    return place


def _is_within(place: Geography, geography: Geography) -> bool:
    same = place.country == geography.country
    return same and geography.state in ("", place.state)


def _can_be_in(place: Geography, geography: Geography) -> bool:
    same = place.country == geography.country
    return same and (not place.state or geography.state in ("", place.state))


def check_residency(manifest: Manifest, signers: Set[Signer], required: Use | None) -> None:
    """Perform step 5. Raises ExportError."""
    _check_known(manifest)
    for location in manifest.locations():
        _check_consistent(location)
    for claim in manifest.claims:
        if claim.claimed_by not in signers:
            reason = f"a claim about {claim.activity} is by somebody who has not signed"
            raise ExportError("claim-signer", reason, _STEP)
    rules = [use for use in (manifest.use, required) if use is not None]
    for activity in _CODES:
        limit = required.limit(activity) if required is not None else None
        claimed = any(claim.activity == activity for claim in manifest.claims)
        if limit is not None and (limit.allowed or limit.forbidden) and not claimed:
            reason = f"there is no claim about {activity}"
            raise ExportError("residency-missing", reason, _STEP)
    for claim in manifest.claims:
        for location in claim.locations:
            _check_permitted(claim, location, rules)


def _check_known(manifest: Manifest) -> None:
    """Perform step 5.1."""
    try:
        for geography in manifest.use.geographies() if manifest.use is not None else ():
            check_codes(geography)
        for location in manifest.locations():
            check_codes(location.place)
            region = location.cloud_region
            if region and region not in places().regions:
                raise FormatError(f"{quote(region)} is not a known cloud region")
    except FormatError as error:
        raise ExportError("region-unknown", error.message, _STEP) from None


def _check_consistent(location: Location) -> None:
    """Perform step 5.2."""
    code = places().regions.get(location.cloud_region)
    if code is None:
        return
    place = location.place
    other_state = "-" in code and place.state not in ("", code)
    if code.partition("-")[0] != place.country or other_state:
        reason = f"{location.cloud_region} is in {code}, not where it is claimed to be"
        raise ExportError("region-contradiction", reason, _STEP)


def _check_permitted(claim: Claim, location: Location, rules: Sequence[Use]) -> None:
    """Perform step 5.5."""
    place = place_of(location)
    not_allowed, forbidden = _CODES[claim.activity]
    limits = [rule.limit(claim.activity) for rule in rules]
    where = f"{claim.activity} is claimed in {location.label}"
    for limit in limits:
        if limit.allowed and not any(_is_within(place, g) for g in limit.allowed):
            raise ExportError(not_allowed, f"{where}, which is not allowed", _STEP)
    for limit in limits:
        if any(_can_be_in(place, g) for g in limit.forbidden):
            raise ExportError(forbidden, f"{where}, which is forbidden", _STEP)
