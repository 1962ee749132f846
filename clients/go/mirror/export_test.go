package mirror

// ShortBatches makes updates prove few tiles at a time, so that a test needs
// few entries for several batches. It returns a function that undoes it.
func ShortBatches() func() {
	was := batchTiles
	batchTiles = 4
	return func() { batchTiles = was }
}
