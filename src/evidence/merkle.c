/* The Merkle tree of RFC 6962, section 2.1, over the chunks of a segment. */
#include <tapbox/evidence.h>

/* The prefix keeps a leaf from ever passing for a node. */
static enum tb_err
hash_leaf(const struct tb_sha256 *digest, struct tb_sha256 *out)
{
    uint8_t text[1 + TB_SHA256_SIZE] = {0x00};

    memcpy(text + 1, digest->octets, TB_SHA256_SIZE);
    return tb_sha256(tb_bytes_of(text, sizeof(text)), out);
}

static enum tb_err
hash_node(const struct tb_sha256 *left, const struct tb_sha256 *right, struct tb_sha256 *out)
{
    uint8_t text[1 + 2 * TB_SHA256_SIZE] = {0x01};

    memcpy(text + 1, left->octets, TB_SHA256_SIZE);
    memcpy(text + 1 + TB_SHA256_SIZE, right->octets, TB_SHA256_SIZE);
    return tb_sha256(tb_bytes_of(text, sizeof(text)), out);
}

void
tb_merkle_begin(struct tb_merkle *tree)
{
    tree->count = 0;
    tree->height = 0;
}

/* Whole subtrees wait on a stack, the largest at the bottom; a new leaf completes as many of
 * them as its number has zeros at the end. */
enum tb_err
tb_merkle_add(struct tb_merkle *tree, const struct tb_sha256 *digest)
{
    struct tb_sha256 node;
    enum tb_err err =
        tree->height == TB_MERKLE_MAX_HEIGHT ? TB_ETOOBIG : hash_leaf(digest, &node);

    for (uint64_t n = tree->count; err == TB_OK && (n & 1) != 0; n >>= 1) {
        err = hash_node(&tree->whole[--tree->height], &node, &node);
    }
    if (err == TB_OK) {
        tree->whole[tree->height++] = node;
        tree->count++;
    }
    return err;
}

enum tb_err
tb_merkle_root(const struct tb_merkle *tree, struct tb_sha256 *out)
{
    struct tb_sha256 node;
    enum tb_err err = TB_OK;

    if (tree->count == 0) {
        return tb_sha256(tb_bytes_of("", 0), out); /* as the RFC has it */
    }
    node = tree->whole[tree->height - 1];
    for (size_t i = tree->height - 1; i > 0 && err == TB_OK; i--) {
        err = hash_node(&tree->whole[i - 1], &node, &node);
    }
    if (err == TB_OK) {
        *out = node;
    }
    return err;
}

enum tb_err
tb_segment_merkle_root(const struct tb_segment_reader *reader, struct tb_sha256 *out,
                       struct tb_fail *fail)
{
    const struct tb_segment_chunk *chunk;
    struct tb_merkle tree;
    enum tb_err err = TB_OK;

    tb_merkle_begin(&tree);
    for (size_t i = 0; err == TB_OK && (chunk = tb_segment_reader_chunk(reader, i)) != NULL;
         i++) {
        err = tb_merkle_add(&tree, &chunk->sha256);
    }
    if (err == TB_OK) {
        err = tb_merkle_root(&tree, out);
    }
    return err == TB_OK ? TB_OK : tb_fail_set(fail, err, "cannot hash the tree of chunks");
}
