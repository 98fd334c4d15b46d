"""Memory that runs out in spite of the forecast. The engine is a fake, and a process."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.server import Server, wait_for

Start = Callable[..., Server]

CONTEXT = ("--context", "128", "--slots", "1")


def shrunk(server: Server) -> int:
    """How often a context was halved."""
    return len(server.json("journal", "search", "--action", "deployment.shrink"))


def test_the_context_is_halved_once_where_that_is_allowed(fake_server: Start) -> None:
    """An engine that fails for want of memory comes up with half the context; status says so loudly, and the journal
    names the change and its cause. What was removed and is made again, and what is asked for anew, begins with what
    it asks for."""
    server = fake_server(deployment=(*CONTEXT, "--may-shrink"), most_context_tokens=64)
    server.run("deployment", "stop", "ticket-pilot")  # it gets no memory either
    assert server.say("hello")[0] == 200
    entry = server.wait_ready("bot")
    assert (entry["context_tokens"], entry["restarts"]) == (64, 1)
    wait_for(lambda: "64 tokens only, because memory ran out" in server.run("status").stdout, "the note in status")
    shrinks = server.json("journal", "search", "--action", "deployment.shrink")
    assert [(e["before"], e["after"]) for e in shrinks] == [({"context_tokens": 128}, {"context_tokens": 64})]
    assert "out of memory" in shrinks[0]["reason"]
    server.run("deployment", "remove", "bot")
    server.run("deployment", "create", "bot", *CONTEXT, "--may-shrink")
    wait_for(lambda: shrunk(server) == 2, "the new one to have asked for its own context")
    server.run("deployment", "change", "bot", "--context", "48")
    wait_for(lambda: server.deployment("bot")["context_tokens"] == 48, "the context that is asked for now")
    assert shrunk(server) == 2


def test_the_context_is_never_cut_where_that_was_not_allowed(fake_server: Start) -> None:
    """Without leave it stays as it was wanted: the request is told why and what would fit."""
    server = fake_server(deployment=CONTEXT, most_context_tokens=64)
    status, body = wait_for(lambda: (r := server.say("hello"))[0] == 503 and r, "the refusal")
    assert status == 503
    assert "it ran out of memory" in body["error"]["message"]
    assert "undercroft plan bot" in body["error"]["message"]
    assert not [e for e in server.json("journal", "show") if e["action"] == "deployment.shrink"]


def test_it_is_halved_once_and_not_again(fake_server: Start) -> None:
    """Where even half is too much it fails, and says so, rather than shrink to nothing."""
    server = fake_server(deployment=(*CONTEXT, "--may-shrink"), most_context_tokens=32)
    wait_for(lambda: server.deployment("bot")["state"] == "failed", "the failure")
    assert len([e for e in server.json("journal", "show") if e["action"] == "deployment.shrink"]) == 1


def test_others_make_room_once_and_not_at_every_try(fake_server: Start) -> None:
    """What fails for want of memory has idle models unloaded for it; those that hold none, for they are stopped, are no
    room. Where it fails all the same, those that came back stay, however often it is tried."""
    server = fake_server(
        deployment=CONTEXT,
        most_context_tokens=64,
        UNDERCROFT_ADMISSION__IDLE_SECONDS="5",
        UNDERCROFT_ENGINES__RESTART_BACKOFF_LIMIT_SECONDS="1",
    )
    server.run("deployment", "stop", "ticket-pilot")
    server.run("deployment", "stop", "bot")
    server.run("deployment", "create", "bot", "--name", "small", "--context", "48", "--slots", "1")
    assert server.wait_ready("small")["restarts"] == 0
    server.run("deployment", "create", "bot", "--name", "large", *CONTEXT)
    wait_for(lambda: not server.deployment("small")["replicas"], "the idle one to make room")
    assert server.say("hello", model="small")[0] == 200
    (replica,) = server.deployment("small")["replicas"]
    tries = server.deployment("large")["restarts"]
    wait_for(lambda: server.deployment("large")["restarts"] >= tries + 3, "three more tries")
    assert [one["id"] for one in server.deployment("small")["replicas"]] == [replica["id"]]
