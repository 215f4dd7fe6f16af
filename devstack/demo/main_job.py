"""The main job, step by step: an account from registration to sign-in, a task from creation to deletion, the jobs."""

from __future__ import annotations

import json
import re
import secrets
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from devstack.demo.doors import Answer, Door

PASSWORD = "correct horse battery"  # noqa: S105  of throw-away accounts
LINK = re.compile(r"#token=([A-Za-z0-9_-]+)")
PATIENCE = 60.0


class StepFailedError(Exception):
    """A step did not do what it should."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """The mailbox, over its HTTP door."""

    address: str

    def wait_for(self, to: str, count: int) -> dict[str, Any]:
        """Returns the newest message to an address once there are `count`."""
        url = f"http://{self.address}/api/messages?to={quote(to)}"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with urllib.request.urlopen(url, timeout=PATIENCE) as page:
                messages: list[dict[str, Any]] = json.load(page)
            if len(messages) >= count:
                return messages[0]
            time.sleep(0.05)
        raise StepFailedError(f"no email number {count} to {to} within {PATIENCE:.0f} s")


@dataclass(slots=True)
class MainJob:
    """One run through one door. `show` is told each step as it happens: its title, what was sent, what came back."""

    door: Door
    mailbox: Mailbox
    admin: dict[str, str]
    show: Callable[[str, Any, Any], None]
    email: str = field(default_factory=lambda: f"ada-{secrets.token_hex(4)}@example.com")
    headers: dict[str, str] = field(default_factory=dict)
    user: str = ""

    def run(self) -> None:
        """Does it all, or raises StepFailedError at the first step that went wrong."""
        self.account()
        self.task()
        self.jobs()

    def account(self) -> None:
        """Register, verify with what the email says, be welcomed, sign in."""
        register = {"email": self.email, "password": PASSWORD, "displayName": "Ada"}
        self.ok("Register", "AuthService/Register", register)
        letter = self.letter("The verification email, as the mailbox received it", 1)
        link = LINK.search(letter["text"])
        expect(link is not None, "the email holds a link")
        self.refused("Login before verification", "AuthService/Login", self.credentials, "CREDENTIALS_INVALID")
        verify = {"token": link[1] if link else ""}
        self.user = self.ok("VerifyEmail with what it says", "AuthService/VerifyEmail", verify)["user"]
        self.refused("The same link again", "AuthService/VerifyEmail", verify, "LINK_INVALID")
        self.letter("The welcome email", 2)
        tokens = self.ok("Login", "AuthService/Login", self.credentials)["tokens"]
        self.headers = {"authorization": f"Bearer {tokens['accessToken']}"}
        me = self.ok("Who am I", "UserService/GetUser", {"name": "users/me"})
        expect(me["email"] == self.email and me["name"] == self.user, "GetUser returns the caller")

    def task(self) -> None:
        """Create with a key, twice; read, list, change under an etag, complete, delete."""
        key = {"idempotency-key": secrets.token_hex(8)}
        create = {"task": {"title": "Write the report", "labels": {"team": "ops"}, "priority": "HIGH"}}
        task = self.ok("CreateTask with an idempotency key", "TaskService/CreateTask", create, **key)
        again = self.ok("The same call again: the same answer, no second task", "TaskService/CreateTask", create, **key)
        expect(again == task, "the replay is equal")
        other = {"task": {"title": "Something else"}}
        self.refused(
            "The same key for another request", "TaskService/CreateTask", other, "IDEMPOTENCY_KEY_REUSED", **key
        )
        named = {"name": task["name"]}
        expect(self.ok("GetTask", "TaskService/GetTask", named) == task, "GetTask returns what was created")
        listed = self.ok("ListTasks", "TaskService/ListTasks", {"pageSize": 10})["tasks"]
        expect(listed == [task], "the list holds the one task")
        update = {"task": {**named, "title": "Write it well", "etag": task["etag"]}, "updateMask": "title"}
        changed = self.ok("UpdateTask with mask and etag", "TaskService/UpdateTask", update)
        expect(changed["title"] == "Write it well" and changed["etag"] != task["etag"], "title and etag are new")
        self.refused("The same with the old etag", "TaskService/UpdateTask", update, "ETAG_MISMATCH")
        done = self.ok("CompleteTask", "TaskService/CompleteTask", named)
        expect(done["state"] == "DONE" and "completeTime" in done, "the task is done")
        self.refused("CompleteTask again", "TaskService/CompleteTask", named, "STATE_TRANSITION_INVALID")
        gone = self.ok("DeleteTask", "TaskService/DeleteTask", named)
        expect("deleteTime" in gone and "purgeTime" in gone, "the task can be brought back for a while")
        expect(not self.ok("ListTasks", "TaskService/ListTasks", {}).get("tasks"), "the list is empty")

    def jobs(self) -> None:
        """The email's jobs: the caller's own, and for an administrator all of them, with their attempts."""
        mine = self.ok("ListJobs: what ran on my behalf", "JobService/ListJobs", {"kind": "email"})["jobs"]
        expect([job["args"]["template"] for job in mine] == ["welcome"], "the welcome email is mine")
        member, self.headers = self.headers, self.admin
        every = self.ok("ListJobs, as an administrator", "JobService/ListJobs", {"pageSize": 2, "state": "SUCCEEDED"})[
            "jobs"
        ]
        expect([job["args"]["template"] for job in every] == ["welcome", "verification"], "both emails are there")
        name = every[1]["name"]
        job = self.ok("GetJob: the verification email", "JobService/GetJob", {"name": name})
        expect(job["state"] == "SUCCEEDED" and job["attempt"] == 1, "it succeeded at the first attempt")
        attempts = self.ok("ListJobAttempts", "JobService/ListJobAttempts", {"parent": name})["attempts"]
        expect(attempts[0]["state"] == "SUCCEEDED", "its last attempt succeeded")
        self.headers = member
        self.refused("The same as a member", "JobService/GetJob", {"name": name}, "RESOURCE_NOT_FOUND")

    @property
    def credentials(self) -> dict[str, str]:
        """What Login takes."""
        return {"email": self.email, "password": PASSWORD}

    def letter(self, title: str, count: int) -> dict[str, Any]:
        """Waits for an email and shows it."""
        letter = self.mailbox.wait_for(self.email, count)
        self.show(title, None, letter)
        return letter

    def ok(self, title: str, method: str, request: dict[str, Any], **headers: str) -> dict[str, Any]:
        """Calls, expects an answer, and returns it."""
        answer = self._call(title, method, request, headers)
        expect(answer.status == "OK", f"{method} answers OK, not {answer.status} {answer.body}")
        return answer.body

    def refused(self, title: str, method: str, request: dict[str, Any], reason: str, **headers: str) -> None:
        """Calls, and expects a refusal for this reason."""
        answer = self._call(title, method, request, headers)
        expect(answer.reason == reason, f"{method} is refused for {reason}, not {answer.status} {answer.body}")

    def _call(self, title: str, method: str, request: dict[str, Any], headers: dict[str, str]) -> Answer:
        answer = self.door.call(method, request, self.headers | headers)
        self.show(title, f"{method} {json.dumps(request)}", answer.body)
        return answer


def expect(holds: bool, what: str) -> None:  # noqa: FBT001  reads as a sentence
    """Raises StepFailedError unless it holds."""
    if not holds:
        raise StepFailedError(f"expected: {what}")
