/*
 * One XML answer as a tree of local names and leaf texts (expat).
 *
 * EC2 and S3 answers are shallow and are read whole anyway, so a tree is simpler than
 * callbacks. Nodes and strings come from blocks that are freed together.  A DOCTYPE is refused:
 * without one there are no entities to blow up.
 */
#include "aws_int.h"

#include <expat.h>
#include <stdlib.h>

enum {
    BLOCK_BYTES = 64 * 1024 - 64
};

struct block {
    struct block *next;
    size_t used, size;
    max_align_t at[];
};

struct tb_xml_node {
    const char *name;
    const char *text; /* NULL when it has children */
    struct tb_xml_node *first, *last, *next, *parent;
};

struct tb_xml {
    struct block *blocks;
    struct tb_xml_node *root;
};

struct parse {
    XML_Parser parser;
    struct tb_xml *doc;
    struct tb_xml_node *open; /* innermost element */
    struct tb_buf text;       /* of the innermost, when it has no children */
    unsigned depth;
    size_t nodes;
    enum tb_err err;
    const char *why;
};

static void *
take(struct tb_xml *doc, size_t bytes)
{
    struct block *block = doc->blocks;
    void *at;

    bytes = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (block == NULL || block->size - block->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;

        block = malloc(sizeof(*block) + size);
        if (block == NULL) {
            return NULL;
        }
        block->used = 0;
        block->size = size;
        block->next = doc->blocks;
        doc->blocks = block;
    }
    at = (uint8_t *)block->at + block->used;
    block->used += bytes;
    return at;
}

static const char *
keep(struct tb_xml *doc, const void *text, size_t len)
{
    char *copy = take(doc, len + 1);

    if (copy != NULL) {
        if (len > 0) {
            memcpy(copy, text, len);
        }
        copy[len] = '\0';
    }
    return copy;
}

static void
stop(struct parse *p, enum tb_err err, const char *why)
{
    if (p->err == TB_OK) {
        p->err = err;
        p->why = why;
    }
    XML_StopParser(p->parser, XML_FALSE);
}

static void XMLCALL
on_start(void *arg, const XML_Char *name, const XML_Char **attributes TB_UNUSED)
{
    struct parse *p = arg;
    const char *colon = strrchr(name, ':');
    const char *local = colon != NULL && colon[1] != '\0' ? colon + 1 : name;
    struct tb_xml_node *node;

    if (p->err != TB_OK) {
        return;
    }
    if (p->depth == TB_XML_MAX_DEPTH || p->nodes == TB_XML_MAX_NODES) {
        stop(p, TB_ETOOBIG, "it has too many elements");
        return;
    }
    node = take(p->doc, sizeof(*node));
    if (node == NULL) {
        stop(p, TB_ENOMEM, "no memory");
        return;
    }
    *node = (struct tb_xml_node){.parent = p->open};
    node->name = keep(p->doc, local, strlen(local));
    if (node->name == NULL) {
        stop(p, TB_ENOMEM, "no memory");
        return;
    }
    if (p->open == NULL) {
        p->doc->root = node;
    } else if (p->open->last == NULL) {
        p->open->first = p->open->last = node;
    } else {
        p->open->last->next = node;
        p->open->last = node;
    }
    p->open = node;
    p->depth++;
    p->nodes++;
    tb_buf_reset(&p->text);
}

static void XMLCALL
on_end(void *arg, const XML_Char *name TB_UNUSED)
{
    struct parse *p = arg;

    if (p->err != TB_OK) { /* expat ends an empty element even when its start stopped it */
        return;
    }
    if (p->open->first == NULL) {
        p->open->text = keep(p->doc, p->text.at, p->text.len);
        if (p->open->text == NULL) {
            stop(p, TB_ENOMEM, "no memory");
            return;
        }
    }
    p->open = p->open->parent;
    p->depth--;
    tb_buf_reset(&p->text);
}

static void XMLCALL
on_text(void *arg, const XML_Char *at, int len)
{
    struct parse *p = arg;

    tb_buf_put(&p->text, at, (size_t)len);
    if (p->text.err != TB_OK) {
        stop(p, p->text.err, "an element's text is too long");
    }
}

static void XMLCALL
on_doctype(void *arg, const XML_Char *name TB_UNUSED, const XML_Char *system TB_UNUSED,
           const XML_Char *public TB_UNUSED, int internal TB_UNUSED)
{
    stop(arg, TB_EFORMAT, "it has a DOCTYPE");
}

static enum tb_err
parse_error(struct parse *p, struct tb_fail *fail)
{
    enum XML_Error code = XML_GetErrorCode(p->parser);
    unsigned long line = (unsigned long)XML_GetCurrentLineNumber(p->parser);

    if (p->err != TB_OK) {
        return tb_fail_set(fail, p->err, "the answer is not the XML expected: %s (line %lu)",
                           p->why, line);
    }
    if (code == XML_ERROR_NO_MEMORY) {
        return tb_fail_set(fail, TB_ENOMEM, "XML answer");
    }
    if (code == XML_ERROR_NO_ELEMENTS || code == XML_ERROR_UNCLOSED_TOKEN ||
        code == XML_ERROR_PARTIAL_CHAR || code == XML_ERROR_UNCLOSED_CDATA_SECTION) {
        return tb_fail_set(fail, TB_ESHORT, "the answer ends before its end");
    }
    return tb_fail_set(fail, TB_EFORMAT, "the answer is not XML: %s (line %lu)",
                       XML_ErrorString(code), line);
}

enum tb_err
tb_xml_parse(struct tb_bytes text, struct tb_xml **out, struct tb_fail *fail)
{
    struct parse p = {.text = TB_BUF_INIT(TB_XML_MAX_TEXT)};
    enum tb_err err = TB_OK;

    if (text.len > TB_AWS_ANSWER_MAX_BYTES) {
        return tb_fail_set(fail, TB_ETOOBIG, "an answer of %zu octets", text.len);
    }
    /* While S3 puts an object together it sends spaces, so that nobody hangs up. */
    while (text.len > 0 && text.at[0] != '\0' && strchr(" \t\r\n", text.at[0]) != NULL) {
        text = tb_bytes_of(text.at + 1, text.len - 1);
    }
    p.doc = calloc(1, sizeof(*p.doc));
    p.parser = XML_ParserCreate(NULL);
    if (p.doc == NULL || p.parser == NULL) {
        err = tb_fail_set(fail, TB_ENOMEM, "XML answer");
        goto out;
    }
    XML_SetUserData(p.parser, &p);
    XML_SetElementHandler(p.parser, on_start, on_end);
    XML_SetCharacterDataHandler(p.parser, on_text);
    XML_SetStartDoctypeDeclHandler(p.parser, on_doctype);
    /* (a NULL pointer is not for expat, not even with length 0) */
    if (XML_Parse(p.parser, text.len > 0 ? (const char *)text.at : "", (int)text.len, 1) !=
        XML_STATUS_OK) {
        err = parse_error(&p, fail);
        goto out;
    }
    *out = p.doc;
    p.doc = NULL;

out:
    if (p.parser != NULL) {
        XML_ParserFree(p.parser);
    }
    tb_buf_release(&p.text);
    tb_xml_free(p.doc);
    return err;
}

void
tb_xml_free(struct tb_xml *doc)
{
    if (doc == NULL) {
        return;
    }
    for (struct block *block = doc->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free(doc);
}

const struct tb_xml_node *
tb_xml_root(const struct tb_xml *doc)
{
    return doc->root;
}

const char *
tb_xml_name(const struct tb_xml_node *node)
{
    return node->name;
}

static const struct tb_xml_node *
first_named(const struct tb_xml_node *node, const char *name, size_t len)
{
    for (; node != NULL; node = node->next) {
        if (strncmp(node->name, name, len) == 0 && node->name[len] == '\0') {
            return node;
        }
    }
    return NULL;
}

const struct tb_xml_node *
tb_xml_at(const struct tb_xml_node *node, const char *path)
{
    while (node != NULL && *path != '\0') {
        size_t len = strcspn(path, "/");

        node = first_named(node->first, path, len);
        path += len;
        path += *path == '/';
    }
    return node;
}

const struct tb_xml_node *
tb_xml_next(const struct tb_xml_node *node)
{
    return first_named(node->next, node->name, strlen(node->name));
}

const char *
tb_xml_text(const struct tb_xml_node *node, const char *path)
{
    node = tb_xml_at(node, path);
    return node != NULL ? node->text : NULL;
}

size_t
tb_xml_count(const struct tb_xml_node *node, const char *path, const char *name)
{
    size_t count = 0;

    node = tb_xml_at(tb_xml_at(node, path), name);
    for (; node != NULL; node = tb_xml_next(node)) {
        count++;
    }
    return count;
}

enum tb_err
tb_xml_copy(const struct tb_xml_node *node, const char *path, char *out, size_t cap,
            struct tb_fail *fail)
{
    const char *text = tb_xml_text(node, path);

    if (!tb_str_copy(out, cap, text != NULL ? text : "")) {
        return tb_fail_set(fail, TB_EFORMAT, "<%s> in the answer is longer than %zu octets",
                           path, cap - 1);
    }
    return TB_OK;
}

enum tb_err
tb_xml_number(const struct tb_xml_node *node, const char *path, uint32_t max, uint32_t *out,
              struct tb_fail *fail)
{
    const char *text = tb_xml_text(node, path);
    uint64_t value = 0;

    for (const char *p = text; p != NULL && *p != '\0'; p++) {
        if (*p < '0' || *p > '9' || (value = value * 10 + (uint64_t)(*p - '0')) > max) {
            return tb_fail_set(fail, TB_EFORMAT, "<%s> in the answer is '%.32s'", path, text);
        }
    }
    *out = (uint32_t)value;
    return TB_OK;
}

bool
tb_xml_true(const struct tb_xml_node *node, const char *path)
{
    const char *text = tb_xml_text(node, path);

    return text != NULL && strcmp(text, "true") == 0;
}
