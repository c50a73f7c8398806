package client

import (
	"context"

	"github.com/petrelchat/petrel/chat"
	"github.com/petrelchat/petrel/client/store"
)

// Codec transforms events on their way out and in: the place of end-to-end encryption. Methods are called on
// goroutines of the client, never two at a time for one conversation; they must not call the client's methods.
type Codec interface {
	// Out turns what somebody wrote into what is sent: a cipher moves Text, Mentions and Media into Enc. It is called once
	// for each event, when that is sent for the first time; the result is kept, so that a retry is the same to the byte. An
	// error fails the message with this reason.
	Out(ctx context.Context, conv string, e *chat.Event) error
	// In turns what came into what is shown and searched; it is called before the event is stored. An error leaves the
	// event as it came.
	In(ctx context.Context, conv string, e *chat.Event) error
}

// Attachment is a file that goes with a message.
type Attachment = store.Attachment

// Uploader brings attachments to where their readers will find them.
type Uploader interface {
	// Upload returns what the message says of the attachment: a CBOR map for Event.Media. It may be called again for the
	// same attachment, after a failure or a restart of the program. A *chat.Refusal fails the message, any other
	// error is tried again.
	Upload(ctx context.Context, conv string, a Attachment) ([]byte, error)
}
