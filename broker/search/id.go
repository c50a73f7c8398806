package search

// A row's number is its post's time, then 14 bits of the number of its conversation, then 8 bits of its seq: ascending by
// time, and mostly unique. A post whose number is taken gets that of a later millisecond, at most drift later.
const (
	timeShift = 22
	convBits  = 14
	convMask  = 1<<convBits - 1
	drift     = 64

	// epoch is 2020-01-01: so 41 bits of milliseconds last until 2089.
	epoch   = 1_577_836_800_000
	maxTime = 1<<41 - 1
	maxID   = 1<<63 - 1
)

// timeID is the least number of a row of that time, in ms since 1970.
func timeID(at int64) int64 { return min(max(at-epoch, 0), maxTime-drift) << timeShift }

// rowID is the number that a post gets first.
func rowID(at, conv int64, seq uint64) int64 {
	return timeID(at) | (conv&convMask)<<8 | int64(seq&0xff)
}

// convOf is what a row's number tells of its conversation.
func convOf(id int64) int64 { return id >> 8 & convMask }
