package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// usage of a process, from Linux' /proc; zero where that can't be read.
type usage struct {
	cpu time.Duration // user and system time so far
	rss int64         // resident bytes now
}

// tick is Linux' USER_HZ, which is 100 on every architecture that Go supports.
const tick = time.Second / 100

func usageOf(pid int) usage {
	if pid <= 0 {
		return usage{}
	}
	var u usage
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		// The command name may contain blanks; fields are counted from the bracket after it.
		if i := strings.LastIndexByte(string(b), ')'); i >= 0 {
			if f := strings.Fields(string(b[i+1:])); len(f) > 12 {
				user, _ := strconv.Atoi(f[11])
				system, _ := strconv.Atoi(f[12])
				u.cpu = time.Duration(user+system) * tick
			}
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			u.rss = pages * int64(os.Getpagesize())
		}
	}
	return u
}

// fsyncMedian is the time to append 4 KiB to a file in dir and fsync it, the median of 100.
func fsyncMedian(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	var took []time.Duration
	for range 100 {
		start := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func selfPID() int { return os.Getpid() }

// busy is the CPU time that all of the machine's processes and its kernel have used so far; 0 where
// there is no /proc/stat.
func busy() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var sum time.Duration
	// cpu user nice system idle iowait irq softirq …: guest times are part of user and nice.
	for i, f := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 7 {
			continue
		}
		n, _ := strconv.Atoi(f)
		sum += time.Duration(n) * tick
	}
	return sum
}
