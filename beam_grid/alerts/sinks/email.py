"""Mail by SMTP, text only; `Message-ID` is made of the message's id, so that a copy is known as one."""

from __future__ import annotations

import smtplib
import ssl
import time
from email.message import EmailMessage
from email.utils import format_datetime

from beam_grid.alerts.declared import EmailSink
from beam_grid.alerts.messages import Message, text
from beam_grid.alerts.sinks import SinkFailed
from beam_grid.alerts.sinks.webhook import ends_after
from beam_grid.errors import GridError
from beam_grid.landing import utc_now
from data_sources.durations import parse_duration


class ToEmail:
    """One server and its addressees."""

    def __init__(self, declared: EmailSink) -> None:
        self._declared, self._timeout = declared, parse_duration(declared.timeout).total_seconds()

    def send(self, message: Message) -> None:
        declared = self._declared
        try:
            password = declared.password.value() if declared.password else None
        except GridError as cause:
            raise SinkFailed(str(cause)) from None
        try:
            mail = self._mail(message)
        except Exception as cause:  # whatever a key holds, the messages behind it are to be sent
            raise SinkFailed(f"no mail can be made of it ({type(cause).__name__})", is_final=True) from None
        server: smtplib.SMTP | None = None
        began = time.monotonic()
        try:
            with ends_after(self._timeout, lambda: getattr(server, "sock", None)) as is_over:
                try:
                    if declared.tls == "tls":
                        server = smtplib.SMTP_SSL(timeout=self._timeout, context=ssl.create_default_context())
                    else:
                        server = smtplib.SMTP(timeout=self._timeout)
                    server._host = declared.host  # type: ignore[attr-defined] # the certificate's name, which connect() alone does not set
                    server.connect(declared.host, declared.port)
                    if declared.tls == "starttls":
                        server.starttls(context=ssl.create_default_context())
                    if declared.user is not None and password is not None:
                        server.login(declared.user, password)
                    refused = server.send_message(mail)
                except (OSError, smtplib.SMTPException):
                    if is_over.is_set() or time.monotonic() - began >= self._timeout:
                        raise TimeoutError from None  # smtplib tells a socket's timeout as a disconnection
                    raise
                finally:
                    if server is not None:
                        server.close()
        except TimeoutError:
            raise SinkFailed(f"{declared.host} did not answer within {self._timeout:g} s") from None
        except smtplib.SMTPResponseException as cause:
            is_refused = isinstance(cause, smtplib.SMTPDataError) and cause.smtp_code in (552, 554)
            raise SinkFailed(f"{declared.host} answered {cause.smtp_code}", is_refused) from None
        except (OSError, smtplib.SMTPException, ValueError) as cause:
            why = getattr(cause, "strerror", None) or type(cause).__name__
            raise SinkFailed(f"{declared.host} cannot be asked ({why})") from None
        if refused:  # some of them have it; it is not sent to those again
            raise_for = ", ".join(sorted(refused))
            raise SinkFailed(f"{declared.host} takes no mail for {raise_for}; the others have it", is_final=True)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = message.title.replace("=?", "= ?")  # read as an encoded word it may hold line breaks
        mail["From"], mail["To"] = self._declared.sender, ", ".join(self._declared.to)
        mail["Date"] = format_datetime(utc_now())
        mail["Message-ID"] = f"<{message.id}@beam-grid>"
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Beam-Grid-Severity"] = message.severity
        mail.set_content(text(message))
        return mail
