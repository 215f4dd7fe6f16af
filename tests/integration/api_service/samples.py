"""One good request for every RPC, and a bad one: what the questions of test_every_rpc.py are asked with."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from google.api import httpbody_pb2
from google.protobuf.message import Message
from taskhub.v1 import (
    auth_service_pb2,
    job_service_pb2,
    service_account_pb2,
    service_account_service_pb2,
    task_file_pb2,
    task_pb2,
    task_service_pb2,
    user_pb2,
    user_service_pb2,
)

from shared.crypto import Secrets
from shared.ids import new_id
from tests.support.api import PASSWORD, SECRET, Account, Api

Sample = Callable[[Api, Account], Message]

robots = service_account_service_pb2
tasks = task_service_pb2
users = user_service_pb2


def _registration(api: Api) -> str:
    """Returns the token of a verification link."""
    id_ = new_id()
    api.execute(
        "INSERT INTO registrations (id, email, password_hash, expire_time) VALUES (%s, %s, 'x', now() + '1 hour')",
        (id_, f"{id_.hex}@example.com"),
    )
    return Secrets(SECRET).link_token("verify-email", id_)


def _reset(api: Api) -> str:
    """Returns the token of a link to choose the password of an account that does not exist yet."""
    id_ = new_id()
    api.execute(
        "INSERT INTO links (id, purpose, email, expire_time) VALUES (%s, 'reset-password', %s, now() + '1 hour')",
        (id_, f"{id_.hex}@example.com"),
    )
    return Secrets(SECRET).link_token("reset-password", id_)


def _session(api: Api, owner: Account) -> str:
    """Returns the name of another session of the caller."""
    id_ = new_id()
    api.execute(
        "INSERT INTO sessions (id, user_id, expire_time) VALUES (%s, %s, now() + '1 day'::interval)", (id_, owner.id)
    )
    return f"sessions/{id_}"


def _job(api: Api, owner: Account) -> str:
    """Returns the name of a job on behalf of `owner`, with two attempts."""
    id_ = new_id()
    api.execute(
        "INSERT INTO jobs (id, kind, queue, max_attempts, attempt, owner_id) VALUES (%s, 'email', 'email', 5, 2, %s)",
        (id_, owner.id),
    )
    api.execute(
        """
        INSERT INTO job_attempts (job_id, claim_token, attempt, state, worker, end_time, error)
        VALUES (%(id)s, 1, 1, 'FAILED', 'host:1', now(), '{"code": 14, "message": "no answer", "reason": "SMTP"}'),
               (%(id)s, 2, 2, 'LOST', 'host:1', now(), NULL)
        """,
        {"id": id_},
    )
    return f"jobs/{id_}"


def _job_with_file(api: Api, owner: Account) -> str:
    """Returns the name of a job on behalf of `owner` that has left a file."""
    job, file = _job(api, owner), new_id()
    api.execute(
        """
        INSERT INTO job_files (id, job_id, role, name, content_type, size, sha256)
        VALUES (%(file)s, %(job)s, 'RESULT', 'tasks.csv', 'text/csv', 3, sha256('abc'))
        """,
        {"file": file, "job": job.removeprefix("jobs/")},
    )
    api.execute("INSERT INTO job_file_chunks (file_id, start, data) VALUES (%s, 0, 'ab'), (%s, 2, 'c')", (file, file))
    return job


def _import() -> Message:
    return tasks.ImportTasksRequest(body=httpbody_pb2.HttpBody(content_type="text/csv", data=b"title\nNew\n"))


def _on_task(request: type[Any], *, deleted: bool = False, state: str = "TODO") -> Sample:
    def make(api: Api, caller: Account) -> Message:
        task = api.task(caller)
        complete = "now()" if state == "DONE" else "NULL"
        gone = "now()" if deleted else "NULL"
        api.execute(
            f"UPDATE tasks SET state = %s, complete_time = {complete}, delete_time = {gone}, purge_time = {gone} "
            "WHERE id = %s",
            (state, task.name.removeprefix("tasks/")),
        )
        message = request(name=task.name)
        assert isinstance(message, Message)
        return message

    return make


def _update(api: Api, caller: Account) -> task_service_pb2.UpdateTaskRequest:
    task = task_pb2.Task(name=api.task(caller).name, description="more")
    return task_service_pb2.UpdateTaskRequest(task=task, update_mask={"paths": ["description"]})


def _batch_update(api: Api, caller: Account) -> Message:
    return tasks.BatchUpdateTasksRequest(requests=[_update(api, caller)])


def _batch_delete(api: Api, caller: Account) -> Message:
    return tasks.BatchDeleteTasksRequest(requests=[tasks.DeleteTaskRequest(name=api.task(caller).name)])


def _register() -> auth_service_pb2.RegisterRequest:
    return auth_service_pb2.RegisterRequest(email=f"{uuid.uuid4().hex}@example.com", password=PASSWORD)


def _delete_user(api: Api, caller: Account) -> Message:
    # Whoever deletes their own account cannot send the call again.
    return users.DeleteUserRequest(name=api.account().name if caller.role == "ADMIN" else caller.name)


def _update_user(_: Api, caller: Account) -> Message:
    return users.UpdateUserRequest(user=user_pb2.User(name=caller.name, display_name="Ada"))


def _disabled(api: Api, _: Account) -> Message:
    user = api.account()
    api.execute("UPDATE users SET disable_time = now() WHERE id = %s", (user.id,))
    return users.EnableUserRequest(name=user.name)


def _robot(api: Api) -> str:
    return api.service_account("tasks.read").name


def _key(api: Api) -> str:
    robot = api.service_account()
    [[key]] = api.execute("SELECT id FROM service_account_keys WHERE service_account_id = %s", (robot.id,))
    return f"{robot.name}/keys/{key}"


def _update_robot(api: Api, _: Account) -> Message:
    robot = service_account_pb2.ServiceAccount(name=_robot(api), scopes=["tasks.write"])
    return robots.UpdateServiceAccountRequest(service_account=robot)


ROBOT = service_account_pb2.ServiceAccount(display_name="Robot", scopes=["tasks.read"])


GOOD: dict[str, Sample] = {
    "AuthService/Register": lambda _, __: _register(),
    "AuthService/VerifyEmail": lambda api, _: auth_service_pb2.VerifyEmailRequest(token=_registration(api)),
    "AuthService/ResendVerification": lambda _, __: auth_service_pb2.ResendVerificationRequest(email="a@example.com"),
    "AuthService/Login": lambda _, me: auth_service_pb2.LoginRequest(email=me.email, password=PASSWORD),
    "AuthService/RefreshToken": lambda _, me: auth_service_pb2.RefreshTokenRequest(refresh_token=me.refresh_token),
    "AuthService/Logout": lambda _, __: auth_service_pb2.LogoutRequest(),
    "AuthService/ChangePassword": lambda _, __: auth_service_pb2.ChangePasswordRequest(
        current_password=PASSWORD, new_password="another password"
    ),
    "AuthService/ChangeEmail": lambda _, __: auth_service_pb2.ChangeEmailRequest(
        email=f"{uuid.uuid4().hex}@example.com", current_password=PASSWORD
    ),
    "AuthService/RequestPasswordReset": lambda _, me: auth_service_pb2.RequestPasswordResetRequest(email=me.email),
    "AuthService/ConfirmPasswordReset": lambda api, _: auth_service_pb2.ConfirmPasswordResetRequest(
        token=_reset(api), new_password="another password"
    ),
    "AuthService/ListSessions": lambda _, __: auth_service_pb2.ListSessionsRequest(),
    "AuthService/RevokeSession": lambda api, me: auth_service_pb2.RevokeSessionRequest(name=_session(api, me)),
    "AuthService/RevokeAllSessions": lambda _, __: auth_service_pb2.RevokeAllSessionsRequest(keep_current=True),
    "AuthService/ExchangeServiceKey": lambda api, _: auth_service_pb2.ExchangeServiceKeyRequest(
        key=api.service_account().refresh_token
    ),
    "AuthService/GetJwks": lambda _, __: auth_service_pb2.GetJwksRequest(),
    "UserService/GetUser": lambda _, me: user_service_pb2.GetUserRequest(name=me.name),
    "UserService/UpdateUser": _update_user,
    "UserService/DeleteUser": _delete_user,
    "UserService/ListUsers": lambda _, __: users.ListUsersRequest(),
    "UserService/DisableUser": lambda api, _: users.DisableUserRequest(name=api.account().name),
    "UserService/EnableUser": _disabled,
    "UserService/SetUserRole": lambda api, _: users.SetUserRoleRequest(name=api.account().name, role="ADMIN"),
    "ServiceAccountService/CreateServiceAccount": lambda _, __: robots.CreateServiceAccountRequest(
        service_account=ROBOT
    ),
    "ServiceAccountService/GetServiceAccount": lambda api, _: robots.GetServiceAccountRequest(name=_robot(api)),
    "ServiceAccountService/ListServiceAccounts": lambda _, __: robots.ListServiceAccountsRequest(),
    "ServiceAccountService/UpdateServiceAccount": _update_robot,
    "ServiceAccountService/DeleteServiceAccount": lambda api, _: robots.DeleteServiceAccountRequest(name=_robot(api)),
    "ServiceAccountService/CreateKey": lambda api, _: robots.CreateKeyRequest(parent=_robot(api)),
    "ServiceAccountService/ListKeys": lambda api, _: robots.ListKeysRequest(parent=_robot(api)),
    "ServiceAccountService/RevokeKey": lambda api, _: robots.RevokeKeyRequest(name=_key(api)),
    "TaskService/CreateTask": lambda _, __: tasks.CreateTaskRequest(task=task_pb2.Task(title="New")),
    "TaskService/GetTask": _on_task(tasks.GetTaskRequest),
    "TaskService/ListTasks": lambda _, __: tasks.ListTasksRequest(),
    "TaskService/UpdateTask": _update,
    "TaskService/DeleteTask": _on_task(tasks.DeleteTaskRequest),
    "TaskService/UndeleteTask": _on_task(tasks.UndeleteTaskRequest, deleted=True),
    "TaskService/StartTask": _on_task(tasks.StartTaskRequest),
    "TaskService/CompleteTask": _on_task(tasks.CompleteTaskRequest, state="IN_PROGRESS"),
    "TaskService/CancelTask": _on_task(tasks.CancelTaskRequest),
    "TaskService/ReopenTask": _on_task(tasks.ReopenTaskRequest, state="DONE"),
    "TaskService/BatchCreateTasks": lambda _, __: tasks.BatchCreateTasksRequest(
        requests=[tasks.CreateTaskRequest(task=task_pb2.Task(title=title)) for title in ("One", "Two")]
    ),
    "TaskService/BatchGetTasks": lambda api, me: tasks.BatchGetTasksRequest(names=[api.task(me).name]),
    "TaskService/BatchUpdateTasks": _batch_update,
    "TaskService/BatchDeleteTasks": _batch_delete,
    "TaskService/ExportTasks": lambda _, __: tasks.ExportTasksRequest(format=task_file_pb2.TaskFile.CSV),
    "TaskService/ImportTasks": lambda _, __: _import(),
    "TaskService/ListTaskEvents": lambda api, me: tasks.ListTaskEventsRequest(parent=api.task(me).name),
    "TaskService/WatchTasks": lambda api, me: tasks.WatchTasksRequest(task=api.task(me).name),
    "JobService/GetJob": lambda api, me: job_service_pb2.GetJobRequest(name=_job(api, me)),
    "JobService/ListJobs": lambda _, __: job_service_pb2.ListJobsRequest(),
    "JobService/ListJobAttempts": lambda api, me: job_service_pb2.ListJobAttemptsRequest(parent=_job(api, me)),
    "JobService/ReadJobResult": lambda api, me: job_service_pb2.ReadJobResultRequest(name=_job_with_file(api, me)),
}

#: Which field is wrong, and a request in which it is. Methods without fields have nothing to get wrong.
BAD: dict[str, tuple[str, Message]] = {
    "AuthService/Register": ("email", auth_service_pb2.RegisterRequest(email="nobody", password=PASSWORD)),
    "AuthService/VerifyEmail": ("token", auth_service_pb2.VerifyEmailRequest(token="forged")),
    "AuthService/ResendVerification": ("email", auth_service_pb2.ResendVerificationRequest(email="@")),
    "AuthService/Login": ("email", auth_service_pb2.LoginRequest(email="", password="x")),
    "AuthService/RefreshToken": ("refresh_token", auth_service_pb2.RefreshTokenRequest(refresh_token="x" * 300)),
    "AuthService/ChangePassword": (
        "new_password",
        auth_service_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password="password1"),
    ),
    "AuthService/ChangeEmail": (
        "email",
        auth_service_pb2.ChangeEmailRequest(email="two@@example.com", current_password=PASSWORD),
    ),
    "AuthService/RequestPasswordReset": ("email", auth_service_pb2.RequestPasswordResetRequest(email="nobody")),
    "AuthService/ConfirmPasswordReset": (
        "token",
        auth_service_pb2.ConfirmPasswordResetRequest(token="forged", new_password=PASSWORD),
    ),
    "AuthService/ListSessions": ("page_token", auth_service_pb2.ListSessionsRequest(page_token="AAAA")),
    "AuthService/RevokeSession": ("name", auth_service_pb2.RevokeSessionRequest(name="sessions/1")),
    "UserService/GetUser": ("name", user_service_pb2.GetUserRequest(name="users/you")),
    "UserService/UpdateUser": ("user.name", users.UpdateUserRequest(user=user_pb2.User(display_name="Ada"))),
    "UserService/DeleteUser": ("etag", users.DeleteUserRequest(name="users/me", etag="x" * 65)),
    "UserService/ListUsers": ("page_token", users.ListUsersRequest(page_token="AAAA")),
    "UserService/DisableUser": ("name", users.DisableUserRequest(name="users/me")),
    "UserService/EnableUser": ("name", users.EnableUserRequest(name="users/")),
    "UserService/SetUserRole": ("role", users.SetUserRoleRequest(name=f"users/{uuid.uuid4()}")),
    "AuthService/ExchangeServiceKey": ("key", auth_service_pb2.ExchangeServiceKeyRequest(key="x" * 257)),
    "ServiceAccountService/CreateServiceAccount": (
        "service_account.scopes",
        robots.CreateServiceAccountRequest(
            service_account=service_account_pb2.ServiceAccount(display_name="Robot", scopes=["everything"])
        ),
    ),
    "ServiceAccountService/GetServiceAccount": ("name", robots.GetServiceAccountRequest(name="serviceAccounts/me")),
    "ServiceAccountService/ListServiceAccounts": ("page_size", robots.ListServiceAccountsRequest(page_size=-1)),
    "ServiceAccountService/UpdateServiceAccount": (
        "service_account.name",
        robots.UpdateServiceAccountRequest(service_account=ROBOT),
    ),
    "ServiceAccountService/DeleteServiceAccount": ("name", robots.DeleteServiceAccountRequest(name="users/me")),
    "ServiceAccountService/CreateKey": ("parent", robots.CreateKeyRequest(parent="serviceAccounts/-")),
    "ServiceAccountService/ListKeys": ("parent", robots.ListKeysRequest()),
    "ServiceAccountService/RevokeKey": ("name", robots.RevokeKeyRequest(name=f"serviceAccounts/{uuid.uuid4()}/keys/1")),
    "TaskService/CreateTask": ("task.title", tasks.CreateTaskRequest(task=task_pb2.Task(title="two\nlines"))),
    "TaskService/GetTask": ("name", tasks.GetTaskRequest(name="tasks/1:foo")),
    "TaskService/ListTasks": ("page_token", tasks.ListTasksRequest(page_token="AAAA")),
    "TaskService/UpdateTask": ("task.name", tasks.UpdateTaskRequest(task=task_pb2.Task(title="New"))),
    "TaskService/DeleteTask": ("name", tasks.DeleteTaskRequest(name="tasks/")),
    "TaskService/UndeleteTask": ("name", tasks.UndeleteTaskRequest()),
    "TaskService/StartTask": ("name", tasks.StartTaskRequest(name="jobs/1")),
    "TaskService/CompleteTask": ("etag", tasks.CompleteTaskRequest(name=f"tasks/{uuid.uuid4()}", etag="x" * 65)),
    "TaskService/CancelTask": ("name", tasks.CancelTaskRequest(name="tasks/\N{SNOWMAN}")),
    "TaskService/ReopenTask": ("name", tasks.ReopenTaskRequest(name="tasks/" + "A" * 36)),
    "TaskService/BatchCreateTasks": (
        "requests[1].task.title",
        tasks.BatchCreateTasksRequest(
            requests=[tasks.CreateTaskRequest(task=task_pb2.Task(title=title)) for title in ("One", "\u2028")]
        ),
    ),
    "TaskService/BatchGetTasks": ("names[0]", tasks.BatchGetTasksRequest(names=["tasks/-"])),
    "TaskService/BatchUpdateTasks": (
        "requests[0].task.name",
        tasks.BatchUpdateTasksRequest(requests=[tasks.UpdateTaskRequest(task=task_pb2.Task(title="New"))]),
    ),
    "TaskService/BatchDeleteTasks": ("requests", tasks.BatchDeleteTasksRequest()),
    "TaskService/ExportTasks": ("format", tasks.ExportTasksRequest()),
    "TaskService/ImportTasks": ("body", tasks.ImportTasksRequest(format=task_file_pb2.TaskFile.CSV)),
    "TaskService/ListTaskEvents": (
        "kinds[0]",
        tasks.ListTaskEventsRequest(parent=f"tasks/{uuid.uuid4()}", kinds=["x"]),
    ),
    "TaskService/WatchTasks": ("resume_token", tasks.WatchTasksRequest(resume_token="AAAA")),
    "JobService/GetJob": ("name", job_service_pb2.GetJobRequest(name="job")),
    "JobService/ListJobs": ("page_size", job_service_pb2.ListJobsRequest(page_size=-1)),
    "JobService/ListJobAttempts": ("parent", job_service_pb2.ListJobAttemptsRequest(parent="jobs/-")),
    "JobService/ReadJobResult": ("offset", job_service_pb2.ReadJobResultRequest(name=f"jobs/{new_id()}", offset=-1)),
}

WITHOUT_FIELDS = {"AuthService/Logout", "AuthService/GetJwks", "AuthService/RevokeAllSessions"}

#: Methods that anybody may call, but whose sample asks for more when an administrator calls them.
AS_ADMIN = {"UserService/DeleteUser"}

#: Methods whose good request names something that belongs to the caller.
NAMING = [
    "AuthService/RevokeSession",
    "UserService/GetUser",
    "UserService/UpdateUser",
    "UserService/DeleteUser",
    "TaskService/GetTask",
    "TaskService/UpdateTask",
    "TaskService/DeleteTask",
    "TaskService/UndeleteTask",
    "TaskService/StartTask",
    "TaskService/CompleteTask",
    "TaskService/CancelTask",
    "TaskService/ReopenTask",
    "TaskService/BatchGetTasks",
    "TaskService/BatchUpdateTasks",
    "TaskService/BatchDeleteTasks",
    "TaskService/ListTaskEvents",
    "TaskService/WatchTasks",
    "JobService/GetJob",
    "JobService/ListJobAttempts",
    "JobService/ReadJobResult",
]
