"""Settings."""

from multitenant.schemas.tenant.settings import SettingDocument

CREATES = (SettingDocument,)
