"""`evergreen alert`: real Prefect blocks that point at loopback, right and wrong names, failing channels."""

from datetime import UTC, datetime

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret

from evergreen.deployments.cli.app import run
from evergreen.deployments.servers import free_port
from evergreen.tasks.alerts import open_channel
from evergreen.tasks.core.alerts.alert import Alarm, Alert, AlertLevel, next_alert
from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.health.checks import Condition, HealthReport, check
from evergreen.tasks.io.alerts import record_health
from evergreen.tasks.io.setup import open_setup
from tests.support.commands import command, write_model

pytestmark = pytest.mark.server


@pytest.fixture
def configure(prefect_server, tmp_path, monkeypatch):
    """Return a function that writes a model whose alerts go to these channels."""
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    for name in ("EVERGREEN_LEDGER_URL", "MLFLOW_TRACKING_URI", "GONE"):
        monkeypatch.delenv(name, raising=False)
    return lambda *notify: write_model(tmp_path, "told", alerts={"notify": list(notify)})


@pytest.fixture
def hook(prefect_server, webhook):
    """Name of a block that posts to the webhook, with a token."""
    CustomWebhookNotificationBlock(
        name="ops",
        url=f"http://127.0.0.1:{webhook.port}/room?token={{{{token}}}}",
        json_data={"title": "{{subject}}", "text": "{{body}}"},
        secrets={"token": "s3cr3t-token"},
        timeout=2,
    ).save("ops", overwrite=True)
    return "custom-webhook/ops"


def test_a_test_message_reaches_a_block_and_a_secret_address(configure, hook, webhook, mailbox):
    mail = f"mailto://127.0.0.1:{mailbox.port}?from=evergreen@example.org&to=ops@example.org"
    Secret(value=mail).save("mail", overwrite=True)
    answer = command("alert", configure(hook, "secret:mail"), "--test")
    assert (0, "Delivered") == (answer.exit_code, answer.state), answer
    assert [(hook, True), ("secret:mail", True)] == [
        (c["channel"], c["arrived"]) for c in answer.json["channels"]
    ]
    assert ["[test] told: alerts arrive"] == [body["title"] for body in webhook.got]
    assert ["/room?token=s3cr3t-token"] == webhook.asked
    assert 1 == len(mailbox.got)


def test_a_channel_that_fails_ends_with_one_and_says_which_without_its_token(configure, hook, webhook):
    webhook.status = 403
    answer = command("alert", configure(hook), "--test")
    assert (1, "Failed", ["alert_not_delivered"]) == (answer.exit_code, answer.state, answer.codes)
    assert hook in answer.said
    assert "403" in answer.said
    assert "s3cr3t" not in answer.said + answer.err


def test_a_test_without_a_channel_is_an_input_error(configure):
    answer = command("alert", configure(), "--test")
    assert (2, "InputError") == (answer.exit_code, answer.state)
    assert "alerts.notify of 'told' is empty" in answer.said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("custom-webhook/nobody", "no such block"),
        ("slak-webhook/ops", "no such block"),
        ("secret:nobody", "no such block"),
        ("just-a-name", "no channel"),
        ("env:GONE", "GONE is not set"),
        ("json/plain", "no such block"),
    ],
)
def test_a_wrong_name_is_an_input_error_and_nothing_is_sent(configure, hook, webhook, name, said):
    answer = command("alert", configure(hook, name), "--test")
    assert (2, "InputError") == (answer.exit_code, answer.state), answer
    assert name in answer.said
    assert said in answer.said
    assert [] == webhook.asked


def test_a_block_that_sends_no_messages_is_refused(configure):
    Secret(value="x").save("quiet", overwrite=True)
    with pytest.raises(ConfigError, match="sends no messages"):
        open_channel("secret/quiet")


def test_a_block_that_never_answers_is_given_up(configure, hook, webhook):
    webhook.silent = True
    block = CustomWebhookNotificationBlock.load("ops")
    block.timeout = 0.3
    block.save("ops", overwrite=True)
    with pytest.raises(Unreachable, match="Timeout"):
        open_channel(hook)("title", "text", AlertLevel.INFO)


def test_without_test_the_command_shows_what_is_open(configure, capsys):
    path = configure()
    assert "NoAlarm" == command("alert", path).state
    alarm = Alarm(kind="data", name="x", since="then", message="moved", level=AlertLevel.DRIFT)
    now = Alert(model="told", topic="inputs", version=1, number=0, start="a", end="b", open=(alarm,))
    open_setup(str(path)).stores.ledger.append(
        model="told",
        stream="windows-inputs",
        kind="window",
        at=datetime.now(UTC),
        payload={"alert": next_alert(None, now).to_dict()},
    )
    answer = command("alert", path)
    assert (0, "Open", ["x"]) == (
        answer.exit_code,
        answer.state,
        [one["name"] for one in answer.json["open"]],
    )
    capsys.readouterr()
    assert 0 == run(["alert", str(path)])
    shown = capsys.readouterr().out
    assert "drift    x (data): moved, since then" in shown
    assert "sent to nobody" in shown


def test_what_waits_is_delivered_at_once_and_only_once(configure, hook, webhook):
    path = configure(hook)
    setup = open_setup(str(path))
    refused = check("serving", Condition.FAILED, "version 3 was refused as champion.")
    record_health(setup, HealthReport(checks=(refused,)), version=2)
    first, again = command("alert", path, "--deliver"), command("alert", path, "--deliver")
    assert (0, "Delivered") == (first.exit_code, first.state), first
    assert ["alert_sent", "alert_sent"] == first.codes
    assert [] == again.codes
    assert ["[critical] told: serving (health)"] == [body["title"] for body in webhook.got]
    both = command("alert", path, "--deliver", "--test")
    assert (2, "InputError") == (both.exit_code, both.state)


def test_people_are_told_while_the_prefect_server_is_away_and_automations_when_it_is_back(
    configure, webhook, monkeypatch
):
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}/room")
    path = configure("env:HOOK")
    refused = check("serving", Condition.FAILED, "version 3 was refused as champion.")
    record_health(open_setup(str(path)), HealthReport(checks=(refused,)), version=2)
    with monkeypatch.context() as away:
        away.setenv("PREFECT_API_URL", f"http://127.0.0.1:{free_port(4390)}/api")
        told = command("alert", path, "--deliver")
    assert (0, ["alert_sent"]) == (told.exit_code, told.codes), told
    assert ["[critical] told: serving (health)"] == [body["title"] for body in webhook.got]
    back = command("alert", path, "--deliver")
    assert ["alert_sent"] == back.codes
    assert 1 == len(webhook.got)
