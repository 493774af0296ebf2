"""Part of the role postmaster.mail.mailman: a list that HyperKitty meets for the first time is private until it has asked Mailman.

It asks in the background, seconds after the first post, and would show that to everybody until then.
"""

from django.apps import AppConfig
from django.db.models.signals import pre_save


def _close(instance, **_others):
    from hyperkitty.models.mailinglist import ArchivePolicy

    if instance._state.adding:
        instance.archive_policy = ArchivePolicy.private.value


class Archive(AppConfig):
    """Django's way to have something done once all models are known."""

    name = "postmaster_mail_web"

    def ready(self):
        from hyperkitty.models import MailingList

        pre_save.connect(_close, sender=MailingList, dispatch_uid="postmaster_mail_web")
