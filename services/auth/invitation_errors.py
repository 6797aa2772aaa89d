"""What dealing with invitations is refused for."""

from services.common.errors import AlreadyExists, NotFound, PreconditionFailed


class InvitationNotFound(NotFound):
    """The organization has no such open invitation."""

    reason = "INVITATION_NOT_FOUND"
    resource_type = "invitation"
    message = "There is no such open invitation."


class InvitationInvalid(PreconditionFailed):
    """Unknown, used, withdrawn, expired, or for another address; which one is not said."""

    reason = "INVITATION_INVALID"
    message = "This invitation cannot be accepted; ask for a new one."


class MembershipExists(AlreadyExists):
    """The person is a member already."""

    reason = "MEMBERSHIP_EXISTS"
    message = "This person is a member already."
