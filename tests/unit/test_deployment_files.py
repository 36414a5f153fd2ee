"""The files for operators in config/: what they say agrees with the defaults that they were written for."""

import configparser
import re
from pathlib import Path

from server.config.capacity import Machine, plan
from server.config.load import Config, load
from server.config.settings import LimitsConfig, ServerConfig
from server.http.head import HEAD_BYTES_MAX

CONFIG = Path(__file__).parents[2] / "config"
UNIT = CONFIG / "tidegate.service"
PROXY = (CONFIG / "nginx.conf").read_text()


def service() -> configparser.SectionProxy:
    """The [Service] section, read as systemd would; a key that comes twice is an error, but for the list of calls, and
    what comes before the signal of a reload."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # systemd's keys have capitals
    parser.read_string(
        re.sub(r"^(SystemCallFilter=[~a-z]|ExecReload=/opt).*\n", "", UNIT.read_text(), flags=re.MULTILINE)
    )
    assert set(parser) == {"DEFAULT", "Unit", "Service", "Install"}
    return parser["Service"]


def defaults() -> Config:
    return load(CONFIG / "example.toml", {"DEMO_TOKEN": "t"})


def seconds(name: str) -> list[float]:
    """Every value of this nginx directive, which stands in seconds."""
    found = re.findall(rf"^ *{name} +([0-9]+)s;", PROXY, re.MULTILINE)
    assert found, name
    return [float(each) for each in found]


def test_unit_starts_what_the_install_makes() -> None:
    """ExecStart is the command of the virtual environment, with a configuration, and the server says when it is up."""
    unit = service()
    program, command, option, config = unit["ExecStart"].split()
    assert program.endswith("/.venv/bin/tidegate")
    assert (command, option, config) == ("serve", "--config", "/etc/tidegate/tidegate.toml")
    assert unit["Type"] == "notify"
    assert f"\nExecReload={program} check {option} {config}\nExecReload=/bin/kill" in UNIT.read_text()
    assert unit["ExecReload"].split() == ["/bin/kill", "-HUP", "$MAINPID"]


def test_unit_gives_the_drain_its_time() -> None:
    """systemd kills only after the server's own deadline."""
    assert int(service()["TimeoutStopSec"]) > defaults().limits.drain_timeout_seconds


def test_unit_allows_the_connections() -> None:
    """LimitNOFILE covers what the capacity plan asks for."""
    assert int(service()["LimitNOFILE"]) >= plan(defaults(), Machine(2**40, 2**50, 2**20, 2**50)).open_files


def test_unit_does_not_run_as_root() -> None:
    """There is a user of its own, nothing but the state directory can be written, and that is private."""
    unit = service()
    assert unit["User"] == unit["Group"] == unit["StateDirectory"] == "tidegate"
    assert (unit["ProtectSystem"], unit["StateDirectoryMode"], unit["UMask"]) == ("strict", "0700", "0077")
    assert unit["CapabilityBoundingSet"] == ""


def test_a_bad_configuration_is_not_restarted() -> None:
    """Exit code 2 says that the configuration cannot be used."""
    unit = service()
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == ("on-failure", "2")


def test_proxy_and_server_have_the_same_limits() -> None:
    """A body, a head and their times are limited alike on both sides."""
    limits = LimitsConfig()
    assert re.findall(r"client_max_body_size +([0-9]+);", PROXY) == [str(limits.body_bytes_max)]
    assert f"the body is over {limits.body_bytes_max} bytes" in PROXY
    assert re.findall(r"large_client_header_buffers +[0-9]+ ([0-9]+)k;", PROXY) == [str(HEAD_BYTES_MAX // 1024)]
    assert seconds("client_body_timeout") == [limits.body_timeout_seconds]
    assert seconds("client_header_timeout") == [limits.header_timeout_seconds]


def test_proxy_gives_up_idle_connections_first() -> None:
    """The proxy's pooled connections end before the server would end them; its patience outlasts the server's."""
    limits = LimitsConfig()
    upstream = PROXY.partition("upstream tidegate {")[2].partition("}")[0]
    [idle] = re.findall(r"keepalive_timeout +([0-9]+)s;", upstream)
    assert int(idle) < limits.keep_alive_timeout_seconds
    assert all(each > limits.body_timeout_seconds for each in seconds("proxy_read_timeout"))


def test_proxy_reaches_the_public_side_alone() -> None:
    """It sends to `bind`, never to `admin_bind`, over connections that stay open, with the client's address."""
    server = ServerConfig()
    assert re.findall(r"^ +server +(\S+);", PROXY, re.MULTILINE) == [str(server.bind)]
    assert str(server.admin_bind) not in PROXY
    assert set(re.findall(r"proxy_pass +(\S+);", PROXY)) == {"http://tidegate"}
    for directive in ("proxy_http_version 1.1", 'proxy_set_header Connection ""', "proxy_set_header X-Forwarded-For"):
        assert directive in PROXY
