package storagetest_test

import (
	"testing"

	"github.com/petrelchat/petrel/storage"
	"github.com/petrelchat/petrel/storage/storagetest"
)

func TestModel(t *testing.T) {
	storagetest.Run(t, func(*testing.T) storage.Store { return storagetest.NewModel() })
}
