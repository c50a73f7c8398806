package verify

import "github.com/petrelchat/petrel/storage"

// reads checks the read audit: cursors never come back from what it says.
func (c *checker) reads() {
	c.scan(storage.SpaceRead, func(k, _ storage.Key, v []byte) {
		conv, ms, user, ok := storage.TakeRead(k)
		r, err := storage.DecodeRead(v)
		if !ok || err != nil {
			c.wrong(k, "an entry of the read audit can't be read")
			return
		}
		if r.At > ms {
			c.wrong(k, "the move was at %d ms, behind the time in the key", r.At)
		}
		cur, ok := c.get(storage.In(storage.SpaceCursor).Str(conv).Str(user))
		if !ok { // whose it was has been erased
			return
		}
		if now, err := storage.DecodeCursor(cur); err == nil && (now.Delivered < r.Delivered || now.Read < r.Read) {
			c.wrong(k, "the cursor was at %d and %d, and now is at %d and %d", r.Delivered, r.Read, now.Delivered, now.Read)
		}
	})
}
