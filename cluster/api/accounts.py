"""/v1/me, /v1/users, /v1/tokens: who may do what."""

from typing import Annotated

from fastapi import APIRouter, Path

from cluster.api.context import Admin, Ctx, Viewer
from cluster.api.models import (
    JOB,
    NewToken,
    NewUser,
    TokenMade,
    TokenOut,
    UserChange,
    UserOut,
    token_facts,
    user_out,
)
from cluster.api.problems import Problem, responses
from cluster.users import NAME, NoSuchUser, Role

router = APIRouter(prefix="/v1", tags=["users"], responses=responses(400, 401, 403, 404, 409, 413, 422, 429, 503))

UserName = Annotated[str, Path(pattern=f"^{NAME}$")]
TokenId = Annotated[str, Path(pattern=JOB)]


@router.get("/me", response_model=UserOut)
def me(user: Viewer) -> UserOut:
    """Who asks."""
    return user_out(user)


@router.get("/users", response_model=list[UserOut])
def users(ctx: Ctx, user: Admin) -> list[UserOut]:
    """All users."""
    return [user_out(each) for each in ctx.users.users()]


@router.post("/users", status_code=201, response_model=UserOut)
def add(asked: NewUser, ctx: Ctx, user: Admin) -> UserOut:
    """Somebody new. They need a token next."""
    return user_out(ctx.users.add(asked.name, asked.role, asked.team))


@router.patch("/users/{name}", response_model=UserOut)
def change(name: UserName, asked: UserChange, ctx: Ctx, user: Admin) -> UserOut:
    """Change role or team, or disable somebody: their tokens then count no more."""
    fields = {key: value for key, value in asked.model_dump(exclude_unset=True).items() if value is not None}
    return user_out(ctx.users.change(name, **fields) if fields else ctx.users.user(name))


@router.delete("/users/{name}", status_code=204)
def remove(name: UserName, ctx: Ctx, user: Admin) -> None:
    """Delete somebody and their tokens. Their jobs stay."""
    ctx.users.remove(name)


@router.get("/users/{name}/tokens", response_model=list[TokenOut])
def tokens(name: UserName, ctx: Ctx, user: Viewer) -> list[TokenOut]:
    """What is kept of somebody's tokens; one's own, or anybody's for an admin."""
    if name != user.name and not user.may(Role.ADMIN):
        raise Problem(403, "these are somebody else's")
    ctx.users.user(name)
    return [TokenOut(**token_facts(token)) for token in ctx.users.tokens(name)]


@router.post("/users/{name}/tokens", status_code=201, response_model=TokenMade)
def issue(name: UserName, asked: NewToken, ctx: Ctx, user: Viewer) -> TokenMade:
    """A new token, for oneself, or for anybody by an admin. It is shown this once."""
    if name != user.name and not user.may(Role.ADMIN):
        raise Problem(403, "only an admin makes tokens for others")
    text, token = ctx.users.issue(name, asked.label, asked.days)
    return TokenMade(token=text, **token_facts(token))


@router.delete("/tokens/{token_id}", status_code=204)
def revoke(token_id: TokenId, ctx: Ctx, user: Viewer) -> None:
    """It counts no more: one's own, or anybody's by an admin."""
    token = ctx.users.token(token_id)
    if token.user != user.name and not user.may(Role.ADMIN):
        raise NoSuchUser(f"there is no token {token_id}")
    ctx.users.revoke(token_id)
