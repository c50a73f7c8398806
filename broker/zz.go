package broker

import (
	"github.com/petrelchat/petrel/storage"
)

func BackupStore(storage.Store, string, string) error { return nil }
