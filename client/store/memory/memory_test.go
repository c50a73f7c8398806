package memory_test

import (
	"testing"

	"github.com/petrelchat/petrel/client/store"
	"github.com/petrelchat/petrel/client/store/memory"
	"github.com/petrelchat/petrel/client/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New() })
}
