"""The pages that links in mails open: what their scripts send, and what they do with the token."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from deploy.gateway import contract
from deploy.gateway.render import PAGES

NODE = shutil.which("node")

#: As much of a browser as the scripts know. Says what was sent before anybody pressed the button, and after.
BROWSER = """
const elements = {}, calls = [], urls = [];
globalThis.document = {getElementById: (id) => elements[id] ??= {value: "", textContent: "", hidden: false}};
globalThis.location = {hash: process.argv[1], pathname: "/page", search: "?token=leaked"};
globalThis.history = {replaceState: (state, title, url) => urls.push(url)};
globalThis.fetch = async (url, options) => {
  calls.push({url, ...options});
  return {ok: true, status: 200, text: async () => ""};
};
let script = "";
for await (const chunk of process.stdin) script += chunk;
new Function(script)();
const before = calls.length;
if (elements.password) elements.password.value = "a new password";
const press = elements.form ? () => elements.form.onsubmit({preventDefault() {}}) : elements.confirm.onclick;
const hidden = Boolean((elements.form ?? elements.confirm).hidden);
if (!hidden) await press();
console.log(JSON.stringify({before, calls, urls, hidden, said: elements.say.textContent}));
"""


def page(name: str) -> str:
    return (files("deploy.gateway") / f"{name}.html").read_text()


def script(name: str) -> str:
    [found] = re.findall(r"<script>(.*?)</script>", page(name), re.DOTALL)
    return str(found)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_sends_one_request_that_the_contract_takes(name: str) -> None:
    [url] = re.findall(r'fetch\("([^"]*)"', script(name))
    [route] = [route for route in contract.routes() if (route.verb, route.path) == ("POST", url)]
    [body] = re.findall(r"JSON\.stringify\(\{(.*?)\}\)", script(name))
    sent = {part.partition(":")[0].strip() for part in body.split(",")}
    fields = route.rpc.input_type.fields
    assert sent == {field.json_name for field in fields}
    assert "token" in sent


@pytest.mark.parametrize("name", PAGES)
def test_a_page_takes_the_token_from_the_fragment_alone_and_lets_nothing_out(name: str) -> None:
    """A fragment reaches neither proxies nor logs nor anybody whom a page could load something from."""
    text = page(name)
    assert "location.hash" in text
    assert "history.replaceState" in text, "nor does it stay in the address or the history"
    for leak in ("location.search", "location.href", "innerHTML", "document.write", "eval(", "localStorage", "cookie"):
        assert leak not in text
    assert not re.search(r"\b(src|href|action)=", text)
    assert not re.search(r"<[^>]+\son\w+=", text), "the policy would not run it"


@pytest.mark.skipif(NODE is None, reason="there is no node to run the scripts with")
@pytest.mark.parametrize("name", PAGES)
def test_the_script_of_a_page_posts_once_the_button_is_pressed_and_not_before(name: str) -> None:
    done = run(script(name), "#token=abc")
    assert (done["before"], len(done["calls"])) == (0, 1)
    [call] = done["calls"]
    assert (call["method"], call["headers"]) == ("POST", {"content-type": "application/json"})
    body = json.loads(call["body"])
    assert body.pop("token") == "abc"
    assert body == ({"newPassword": "a new password"} if name == "reset" else {})
    assert done["urls"] == ["/page"]


@pytest.mark.skipif(NODE is None, reason="there is no node to run the scripts with")
@pytest.mark.parametrize("name", PAGES)
def test_a_link_without_its_token_offers_no_button(name: str) -> None:
    done = run(script(name), "")
    assert (done["hidden"], done["calls"]) == (True, [])
    assert "not complete" in done["said"]


def run(text: str, fragment: str) -> dict[str, Any]:
    """Runs a script as a page would, with the fragment of its address."""
    assert NODE is not None
    command = [NODE, "--input-type=module", "-e", BROWSER, "--", fragment]
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
    result: dict[str, Any] = json.loads(found.stdout)
    return result
